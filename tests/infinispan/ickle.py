"""Ickle, as far as it is documented for searches: read strictly, into what a cache evaluates."""

import re
from dataclasses import dataclass, field
from typing import Any

from tests.infinispan.schemas import Wrong

# As its lexer has them: a text in single quotes knows escapes, and a quote that is doubled.
TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>'(?:\\[btnfr"'\\]|[^'\\]|'')*')
  | (?P<float>-?\d+\.\d*(?:[eE][+-]?\d+)?)
  | (?P<int>-?\d+)
  | (?P<sign><->|<>|!=|>=|<=|[=<>:~(),.\[\]])
  | (?P<name>[A-Za-z_$][A-Za-z0-9_$]*)
)""",
    re.VERBOSE,
)
COMPARING = ("=", "<>", "!=", ">", ">=", "<", "<=")


@dataclass(frozen=True)
class Compare:
    field: str
    sign: str
    value: Any


@dataclass(frozen=True)
class Between:
    field: str
    low: Any
    high: Any


@dataclass(frozen=True)
class Words:
    field: str
    text: str


@dataclass(frozen=True)
class Not:
    part: Any


@dataclass(frozen=True)
class Junction:
    all: bool
    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Nearest:
    field: str
    vector: tuple[float, ...]
    count: int
    filtering: Any = None


@dataclass
class Statement:
    """`items` are field names, `*` for the entity and `score()`; none where nothing is selected."""

    message: str
    items: list[str] = field(default_factory=list)
    where: Any = None
    order: list[tuple[str, bool]] = field(default_factory=list)


class Reader:
    def __init__(self, text: str) -> None:
        self.tokens = list(_tokens(text))
        self.at = 0
        self.alias = ""

    def statement(self) -> Statement:
        items = self._selected() if self._takes("select") else []
        self._needs("from")
        message = self._name()
        while self._takes("."):
            message += f".{self._name()}"
        self.alias = self._name()
        made = Statement(message, [self._item(one) for one in items])
        if self._takes("where"):
            made.where = self._nearest() or self._either()
        if self._takes("order"):
            self._needs("by")
            made.order = self._ordered()
        if self.at < len(self.tokens):
            raise Wrong(f"ISPN028501: unexpected {self.tokens[self.at]}")
        return made

    def _selected(self) -> list[list[str]]:
        items = [self._words_of_item()]
        while self._takes(","):
            items.append(self._words_of_item())
        return items

    def _words_of_item(self) -> list[str]:
        words = [self._name()]
        if self._takes("("):
            words = ["score", self._name()] if words == ["score"] else self._wrong()
            self._needs(")")
        elif self._takes("."):
            words.append(self._name())
        return words

    def _item(self, words: list[str]) -> str:
        if words == [self.alias]:
            return "*"
        if words == ["score", self.alias]:
            return "score()"
        if len(words) != 2 or words[0] != self.alias:
            raise Wrong(f"ISPN028502: Unknown alias: {words[0]}.")
        return words[1]

    def _ordered(self) -> list[tuple[str, bool]]:
        found = []
        while True:
            name = self._path()
            found.append((name, self._takes("desc") or (self._takes("asc") and False)))
            if not self._takes(","):
                return found

    def _nearest(self) -> Nearest | None:
        begin = self.at
        if self._kind() != "name":
            return None
        name = self._path()
        if not self._takes("<->"):
            self.at = begin
            return None
        self._needs("[")
        vector = [self._number()]
        while self._takes(","):
            vector.append(self._number())
        self._needs("]")
        self._needs("~")
        return Nearest(name, tuple(vector), int(self._number()), self._either() if self._takes("filtering") else None)

    def _either(self) -> Any:
        parts = [self._both()]
        while self._takes("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Junction(False, tuple(parts))

    def _both(self) -> Any:
        parts = [self._negated()]
        while self._takes("and"):
            parts.append(self._negated())
        return parts[0] if len(parts) == 1 else Junction(True, tuple(parts))

    def _negated(self) -> Any:
        if self._takes("not"):
            return Not(self._negated())
        if self._takes("("):
            inner = self._either()
            self._needs(")")
            return inner
        return self._predicate()

    def _predicate(self) -> Any:
        name = self._path()
        if self._takes("between"):
            low = self._literal()
            self._needs("and")
            return Between(name, low, self._literal())
        if self._takes(":"):
            return Words(name, str(self._literal()))
        sign = self._next()
        if sign not in COMPARING:
            raise Wrong(f"ISPN028501: unexpected {sign}")
        return Compare(name, "<>" if sign == "!=" else sign, self._literal())

    def _path(self) -> str:
        if self._name() != self.alias:
            raise Wrong(f"ISPN028502: Unknown alias before {self.tokens[self.at :][:1]}")
        self._needs(".")
        return self._name()

    def _literal(self) -> Any:
        if self._kind() == "text":
            return re.sub(r"\\(.)", r"\1", self._next()[1:-1].replace("''", "'"))
        return self._number()

    def _number(self) -> float:
        if self._kind() not in ("int", "float"):
            self._wrong()
        return float(self._next())

    def _name(self) -> str:
        return self._next() if self._kind() == "name" else self._wrong()

    def _kind(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def _next(self) -> str:
        if self.at >= len(self.tokens):
            raise Wrong("ISPN028501: the query ends too soon")
        self.at += 1
        return self.tokens[self.at - 1][1]

    def _takes(self, word: str) -> bool:
        here = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        if here[0] in ("name", "sign") and here[1].lower() == word:
            self.at += 1
            return True
        return False

    def _needs(self, word: str) -> None:
        if not self._takes(word):
            self._wrong()

    def _wrong(self) -> Any:
        raise Wrong(f"ISPN028501: The query cannot be read at {self.tokens[self.at :][:3]}")


def _tokens(text: str) -> Any:
    at = 0
    while at < len(text.rstrip()):
        found = TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise Wrong(f"ISPN028501: the query has something unknown at {text[at : at + 10]!r}")
        yield found.lastgroup, found[found.lastgroup]
        at = found.end()
