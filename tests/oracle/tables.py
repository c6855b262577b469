"""CREATE TABLE as SQLite's, where each column of Oracle's types is checked as Oracle checks it."""

import re
from collections.abc import Iterator

from sqlglot import exp

from tests.oracle.errors import ora

VECTOR = re.compile(r"\bVECTOR\s*\(\s*(\d+)\s*,\s*(FLOAT32|FLOAT64)\s*\)", re.IGNORECASE)
MARKED = re.compile(r"VECTOR_(\d+)_(FLOAT32|FLOAT64)")
MARK = b"VEC"  # before the bytes of each vector, with the letter of their type
MOST_BYTES = 4000
SIZES = {"f": 4, "d": 8}


def marked(statement: str) -> str:
    """sqlglot knows no VECTOR with two arguments."""
    return VECTOR.sub(lambda found: f"VECTOR_{found[1]}_{found[2].upper()}", statement)


def created(tree: exp.Create) -> str:
    parts = [_part(each) for each in tree.this.expressions]
    return f"CREATE TABLE {tree.this.this.name} ({', '.join(parts)})"


def _part(part: exp.Expression) -> str:
    if isinstance(part, exp.ColumnDef):
        return " ".join(_column(part))
    if isinstance(part, exp.PrimaryKey):
        return f"PRIMARY KEY ({', '.join(each.name for each in part.expressions)})"
    raise ora(922, f"missing or invalid option: {part.sql('oracle')}")


def _column(column: exp.ColumnDef) -> Iterator[str]:
    name, constraints = column.name, [each.kind for each in column.constraints]
    if any(isinstance(each, exp.GeneratedAsIdentityColumnConstraint) for each in constraints):
        yield f"{name} INTEGER PRIMARY KEY AUTOINCREMENT"
        return
    declared, check = _type(name, column.args["kind"])
    yield f'{name} "{declared}" {check}'
    for constraint in constraints:
        yield _constraint(name, constraint)


def _type(name: str, kind: exp.DataType) -> tuple[str, str]:
    sizes = [int(each.this.name) for each in kind.expressions]
    if kind.this == exp.DType.VARCHAR and sizes and sizes[0] <= MOST_BYTES:
        too_large = f"value too large for column {name}"
        return f"VARCHAR2({sizes[0]})", (
            f"{_check(932, f'inconsistent datatypes: {name}', name, f'typeof({name}) = $text$')} "
            f"{_check(12899, too_large, name, f'length(CAST({name} AS BLOB)) <= {sizes[0]}')}"
        )
    if kind.this == exp.DType.TEXT:
        return "CLOB", _check(932, f"inconsistent datatypes: {name}", name, f"typeof({name}) = $text$")
    if kind.this == exp.DType.DECIMAL and len(sizes) == 1:
        return f"NUMBER({sizes[0]})", _check(
            1438, f"value larger than the precision of {name}", name, f"abs({name}) < 1e{sizes[0]}"
        )
    if kind.args.get("kind") == "RAW" and sizes:
        return f"RAW({sizes[0]})", (
            f"{_check(932, f'inconsistent datatypes: {name}', name, f'typeof({name}) = $blob$')} "
            f"{_check(12899, f'value too large for column {name}', name, f'length({name}) <= {sizes[0]}')}"
        )
    if found := MARKED.fullmatch(str(kind.args.get("kind"))):
        wrong = f"Vector dimension count must match the one of column {name} ({found[1]})"
        return f"VECTOR({found[1]}, {found[2]})", _check(51803, wrong, name, f"vector_count({name}) = {found[1]}")
    raise ora(902, f"invalid datatype: {kind.sql('oracle')}")


def _constraint(name: str, constraint: exp.Expression) -> str:
    if isinstance(constraint, exp.NotNullColumnConstraint):
        return f'CONSTRAINT "ORA-01400 cannot insert NULL into {name}" CHECK ({name} IS NOT NULL)'
    if isinstance(constraint, exp.PrimaryKeyColumnConstraint):
        return "PRIMARY KEY"
    if isinstance(constraint, exp.UniqueColumnConstraint):
        return "UNIQUE"
    if isinstance(constraint, exp.Reference):
        options = constraint.args["options"]
        if options != ["ON DELETE CASCADE"]:
            raise ora(922, f"missing or invalid option: {options}")
        return constraint.sql("sqlite")
    raise ora(922, f"missing or invalid option: {constraint.sql('oracle')}")


def _check(number: int, words: str, name: str, condition: str) -> str:
    condition = condition.replace("$", "'")
    return f'CONSTRAINT "ORA-{number:05} {words}" CHECK ({name} IS NULL OR {condition})'
