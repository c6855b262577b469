"""Oracle's SQL: what is taken of it, and as what SQLite gets it."""

import re
from dataclasses import dataclass
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError

from tests.oracle import tables
from tests.oracle.errors import ora


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


RESERVED = _words(
    """
    ACCESS ADD ALL ALTER AND ANY AS ASC AUDIT BETWEEN BY CHAR CHECK CLUSTER COLUMN COLUMN_VALUE COMMENT COMPRESS CONNECT
    CREATE CURRENT DATE DECIMAL DEFAULT DELETE DESC DISTINCT DROP ELSE EXCLUSIVE EXISTS FILE FLOAT FOR FROM GRANT GROUP
    HAVING IDENTIFIED IMMEDIATE IN INCREMENT INDEX INITIAL INSERT INTEGER INTERSECT INTO IS LEVEL LIKE LOCK LONG
    MAXEXTENTS MINUS MLSLABEL MODE MODIFY NESTED_TABLE_ID NOAUDIT NOCOMPRESS NOT NOWAIT NULL NUMBER OF OFFLINE ON ONLINE
    OPTION OR ORDER PCTFREE PRIOR PUBLIC RAW RENAME RESOURCE REVOKE ROW ROWID ROWNUM ROWS SELECT SESSION SET SHARE SIZE
    SMALLINT START SUCCESSFUL SYNONYM SYSDATE TABLE THEN TO TRIGGER UID UNION UNIQUE UPDATE USER VALIDATE VALUES VARCHAR
    VARCHAR2 VIEW WHENEVER WHERE WITH
    """
)
LONGEST_NAME = 128
SETTING = re.compile(r"ALTER SESSION SET (NLS_COMP = BINARY|NLS_SORT = BINARY|DDL_LOCK_TIMEOUT = \d+)")
TEXT_INDEX = re.compile(
    r"CREATE INDEX (\w+) ON (\w+) \((\w+)\) INDEXTYPE IS CTXSYS\.CONTEXT PARAMETERS \('SYNC \(ON COMMIT\)'\)"
)
VECTOR_INDEX = re.compile(
    r"CREATE VECTOR INDEX (\w+) ON (\w+) \((\w+)\) "
    r"ORGANIZATION (INMEMORY NEIGHBOR GRAPH|NEIGHBOR PARTITIONS) DISTANCE (COSINE|DOT) "
    r"WITH TARGET ACCURACY \d+( ONLINE)?"
)
FOREIGN = re.compile(r"\b(TEXT|BIGINT|SERIAL|BYTEA|BOOL)\b")  # types that sqlglot takes for Oracle's
NEAREST = re.compile(r"\bFETCH\s+(APPROX|APPROXIMATE|EXACT)\s+FIRST\b")
FUNCTIONS = (exp.Count, exp.Sum, exp.Coalesce, exp.Exists, exp.And, exp.Or)
NAMED_FUNCTIONS = {"VECTOR_DISTANCE": 3, "CONTAINS": 3, "SCORE": 1}
METRICS = ("COSINE", "DOT", "EUCLIDEAN")


@dataclass
class Statement:
    """`kind` is `query`, `change`, `definition` or `setting`. `index` is a text's or vectors' index, with its kind."""

    kind: str
    sql: str
    binds: frozenset[str] = frozenset()
    tables: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()  # the columns of a query's answer, where they are such, or of an index
    locks: str = ""  # of the rows of this table
    approximate: bool = False
    contains: str = ""  # the column
    index: tuple[str, ...] = ()
    dropped: str = ""


@lru_cache(maxsize=2048)
def statement(told: str) -> Statement:
    words = " ".join(told.split())
    if setting := SETTING.fullmatch(words):
        return Statement("setting", setting[1])
    if found := TEXT_INDEX.fullmatch(words):
        return Statement("definition", "", index=("text", *found.groups()))
    if found := VECTOR_INDEX.fullmatch(words):
        return Statement("definition", "", index=("vector", *found.groups()))
    if words.startswith("CREATE TABLE") and (foreign := FOREIGN.search(words)):
        raise ora(902, f"invalid datatype: {foreign[0]}")
    approximate = "FETCH APPROX" in words
    tree = _parsed(NEAREST.sub("FETCH FIRST", tables.marked(words)))
    _checked(tree)
    if isinstance(tree, exp.Create | exp.Drop):
        return _definition(tree)
    if not isinstance(tree, exp.Select | exp.Insert | exp.Update | exp.Delete):
        raise ora(900, f"invalid SQL statement: {words}")
    return _changing_or_asking(tree, approximate)


def _parsed(words: str) -> exp.Expression:
    try:
        [tree] = sqlglot.parse(words, read="oracle")
    except (ParseError, ValueError) as error:
        raise ora(900, f"invalid SQL statement: {error}") from error
    if tree is None or isinstance(tree, exp.Command):
        raise ora(900, f"invalid SQL statement: {words}")
    return tree.transform(_as_it_was)


def _as_it_was(node: exp.Expression) -> exp.Expression:
    """sqlglot takes CONTAINS for another database's."""
    if isinstance(node, exp.Contains):
        return exp.Anonymous(this="CONTAINS", expressions=list(node.args.values()))
    return node


def _checked(tree: exp.Expression) -> None:
    """Names and functions that Oracle has, and no values written out: those are bound."""
    for name in tree.find_all(exp.Identifier):
        if name.quoted or len(name.name.encode()) > LONGEST_NAME:
            raise ora(972, f"identifier is too long, or quoted: {name.name}")
        if name.name.upper() in RESERVED:
            raise ora(904, f"{name.name}: invalid identifier")
    for bind in tree.find_all(exp.Placeholder):
        if bind.name.upper() in RESERVED or not bind.name:
            raise ora(1745, f"invalid host/bind variable name: {bind.name}")
    _functions(tree)
    if any(tree.find_all(exp.Limit, exp.Offset)):
        raise ora(933, "SQL command not properly ended")
    for several in tree.find_all(exp.In):
        if len(several.expressions) > 1000:
            raise ora(1795, "maximum number of expressions in a list is 1000")


def _functions(tree: exp.Expression) -> None:
    for function in tree.find_all(exp.Func):
        if isinstance(function, exp.Anonymous):
            if NAMED_FUNCTIONS.get(function.name.upper()) != len(function.expressions):
                raise ora(904, f"{function.name}: invalid identifier")
        elif not isinstance(function, FUNCTIONS):
            raise ora(904, f"{function.sql('oracle')}: invalid identifier")


def _definition(tree: exp.Create | exp.Drop) -> Statement:
    if isinstance(tree, exp.Drop):
        if tree.args["kind"] != "TABLE":
            raise ora(950, "invalid DROP option")
        [table] = tree.args["tables"]
        return Statement("definition", f"DROP TABLE {table.name}", dropped=table.name.lower())
    if tree.args["kind"] == "TABLE":
        return Statement("definition", tables.created(tree))
    if tree.args["kind"] == "INDEX":
        columns = tuple(column.name.lower() for column in tree.find_all(exp.Column))
        sql = tree.sql("sqlite").replace(" NULLS LAST", "")
        return Statement("definition", sql, tables=(tree.this.args["table"].name.lower(),), outputs=columns)
    raise ora(901, "invalid CREATE command")


def _changing_or_asking(tree: exp.Expression, approximate: bool) -> Statement:
    named = [table.name.lower() for table in tree.find_all(exp.Table)]
    selected = tree.selects if isinstance(tree, exp.Select) else []
    outputs = tuple(each.name.lower() if isinstance(each, exp.Column) else "" for each in selected)
    made = Statement(
        "query" if isinstance(tree, exp.Select) else "change",
        "",
        frozenset(bind.name for bind in tree.find_all(exp.Placeholder)),
        tuple(named),
        outputs,
        approximate=approximate,
    )
    if isinstance(tree, exp.Select) and tree.args.get("locks"):
        made.locks = named[0]
        tree = tree.copy()
        tree.set("locks", None)
    _text(tree, made)
    for distance in _calls(tree, "VECTOR_DISTANCE"):
        metric = distance.expressions[2]
        if metric.name not in METRICS:
            raise ora(51801, f"unknown metric {metric.name}")
        metric.replace(exp.Literal.string(metric.name))
    made.sql = tree.sql("sqlite")
    return made


def _text(tree: exp.Expression, made: Statement) -> None:
    """SCORE(1) is of the CONTAINS with that label, and so is it for SQLite."""
    labelled = {each.expressions[2].name: each for each in _calls(tree, "CONTAINS")}
    for contains in labelled.values():
        if not isinstance(contains.parent, exp.GT) or contains.parent.expression.name != "0":
            raise ora(29909, "CONTAINS is compared with 0")
        made.contains = contains.expressions[0].name.lower()
    for score in _calls(tree, "SCORE"):
        if score.expressions[0].name not in labelled:
            raise ora(29908, "missing primary invocation for ancillary operator")
        score.replace(labelled[score.expressions[0].name].copy())


def _calls(tree: exp.Expression, name: str) -> list[exp.Anonymous]:
    return [each for each in tree.find_all(exp.Anonymous) if each.name.upper() == name]
