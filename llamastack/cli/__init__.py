"""The `llama` command: one thin module a command. Nothing here imports Django before the YAML has been read."""

import sys
from collections.abc import Sequence

from llamastack.cli.app import app
from llamastack.errors import StackError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. What goes wrong is a sentence on stderr and exit code 1, never a traceback."""
    try:
        app(args=arguments)
    except StackError as error:
        print(error.message, file=sys.stderr)
        raise SystemExit(1) from None
