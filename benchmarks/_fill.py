"""Fills a server's database with the models and keys of benchmarks/_rows.py before it starts.

LLAMA_STACK_HOME=… python -m benchmarks._fill CONFIG ROWS URL
"""

import sys

from llamastack import environment
from llamastack.database import open_tables


def main(config: str, rows: int, url: str) -> None:
    open_tables(environment.read(config))
    from benchmarks import _rows

    _rows.fill(rows, rows, url)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
