"""The driver's own exceptions, as it makes them of Oracle's numbers."""

import re
import sqlite3

from oracledb import errors

MEANT = (  # of SQLite's words
    (r"no such table: (?:main\.)?(\w+)", 942, "table or view does not exist"),
    (r"no such column: (\S+)", 904, "invalid identifier"),
    (r"has no column named (\S+)", 904, "invalid identifier"),
    (r"(?:table|index) (\S+) already exists|there is already", 955, "name is already used by an existing object"),
    (r"UNIQUE constraint failed: own_indexes", 955, "name is already used by an existing object"),
    (r"UNIQUE constraint failed", 1, "unique constraint violated"),
    (r"FOREIGN KEY constraint failed", 2291, "integrity constraint violated - parent key not found"),
)


def ora(number: int, words: str) -> Exception:
    error = errors._Error(f"ORA-{number:05}: {words}", code=number)
    return error.exc_type(error)


def dpy(number: int, words: str) -> Exception:
    error = errors._Error(f"DPY-{number:04}: {words}")
    return error.exc_type(error)


def of_sqlite(error: sqlite3.Error) -> Exception:
    """What Oracle would have raised. Raises what it cannot tell: an error of this stand-in's own."""
    told = str(error)
    if named := re.search(r"CHECK constraint failed: ORA-(\d+) (.*)", told):
        return ora(int(named[1]), named[2])
    for pattern, number, words in MEANT:
        if re.search(pattern, told):
            return ora(number, f"{words} ({told})")
    return AssertionError(f"SQLite took it for something else: {told}")
