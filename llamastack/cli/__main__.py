from llamastack.cli import main

main()
