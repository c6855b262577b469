"""A cache: its entries, and what is found in them."""

import re
import sqlite3
from dataclasses import dataclass, field
from typing import Any

import numpy

from tests.infinispan.ickle import Between, Compare, Junction, Nearest, Not, Reader, Words
from tests.infinispan.schemas import Field, Message, Wrong

DEFAULT_RESULTS = 100
Entry = dict[str, Any]
Scores = dict[str, float]


@dataclass
class Cache:
    messages: dict[str, Message]
    entries: dict[str, Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.words = sqlite3.connect(":memory:", check_same_thread=False)
        self.words.execute("CREATE VIRTUAL TABLE words USING fts5(key UNINDEXED, content)")

    def put(self, key: str, given: Entry) -> None:
        if given.get("_type") not in self.messages:
            raise Wrong(f"ISPN012005: the type {given.get('_type')} is not known")
        message = self.messages[given["_type"]]
        entry = message.read(given)
        self.remove(key)
        self.entries[key] = entry
        texts = " ".join(str(entry.get(one.name, "")) for one in message.fields.values() if one.index == "Text")
        self.words.execute("INSERT INTO words (key, content) VALUES (?, ?)", [key, texts])

    def remove(self, key: str) -> bool:
        self.words.execute("DELETE FROM words WHERE key = ?", [key])
        return self.entries.pop(key, None) is not None

    def search(self, query: str, most: int | None) -> dict[str, Any]:
        statement = Reader(query).statement()
        if statement.message not in self.messages:
            raise Wrong(f"ISPN028503: Unknown entity name {statement.message}")
        message = self.messages[statement.message]
        found = _Evaluation(self, message).scores(statement.where)
        keys = sorted(found, key=lambda key: -found[key])
        for name, falling in reversed(statement.order):
            if not _known(message, name).says("sortable"):
                raise Wrong(f"Sorting on the field '{name}' is not supported: it is not sortable")
            keys.sort(key=lambda key: _order(self.entries[key].get(name)), reverse=falling)
        shown = keys[: DEFAULT_RESULTS if most is None else most]
        hits = [{"hit": self._hit(message, statement.items, key, found[key])} for key in shown]
        return {"hit_count": len(keys), "hit_count_exact": True, "hits": hits}

    def _hit(self, message: Message, items: list[str], key: str, score: float) -> Entry:
        entry = self.entries[key]
        if items in ([], ["*"]):
            return entry
        hit: Entry = {}
        for name in items:
            if name not in ("*", "score()") and not _known(message, name).says("projectable"):
                raise Wrong(f"the field '{name}' is not projectable")
            hit[name] = entry if name == "*" else score if name == "score()" else entry.get(name)
        return hit


@dataclass(frozen=True)
class _Evaluation:
    cache: Cache
    message: Message

    def scores(self, part: Any) -> Scores:
        """The entries that a part of a condition matches; each clause that is no negation adds to an entry's score."""
        if part is None:
            return dict.fromkeys(self.cache.entries, 1.0)
        if isinstance(part, Nearest):
            return self._nearest(part)
        if isinstance(part, Junction):
            return self._junction(part)
        if isinstance(part, Not):
            others = self.scores(part.part)
            return {key: 0.0 for key in self.cache.entries if key not in others}
        if isinstance(part, Words):
            return self._words(part)
        return self._compared(part)

    def _junction(self, part: Junction) -> Scores:
        found = [self.scores(one) for one in part.parts]
        keys = set(found[0])
        for one in found[1:]:
            keys = keys & set(one) if part.all else keys | set(one)
        return {key: sum(one.get(key, 0.0) for one in found) for key in keys}

    def _words(self, part: Words) -> Scores:
        if _known(self.message, part.field).index != "Text":
            raise Wrong(f"ISPN028522: full-text queries need an analyzed field: '{part.field}' is none")
        words = [f'"{word}"' for word in re.findall(r"\w+", part.text)]
        if not words:
            return {}
        found = self.cache.words.execute(
            "SELECT key, -bm25(words) FROM words WHERE words MATCH ?", [" OR ".join(words)]
        )
        return {key: max(score, 1e-6) for key, score in found.fetchall()}

    def _compared(self, part: Compare | Between) -> Scores:
        known = _known(self.message, part.field)
        if known.index not in ("Keyword", "Basic"):
            raise Wrong(f"ISPN028526: the field '{part.field}' is analyzed or not indexed")
        test = _between(part) if isinstance(part, Between) else _comparing(part)
        found = {}
        for key, entry in self.cache.entries.items():
            values = entry.get(part.field, [])
            if any(test(_order(value)) for value in (values if isinstance(values, list) else [values])):
                found[key] = 1.0
        if isinstance(part, Compare) and part.sign == "<>":
            return {key: 0.0 for key in self.cache.entries if key not in found}
        return found

    def _nearest(self, part: Nearest) -> Scores:
        known = _known(self.message, part.field)
        if known.index != "Vector":
            raise Wrong(f"'{part.field}' is no vector")
        if len(part.vector) != int(known.options["dimension"]):
            raise Wrong(f"the vector has {len(part.vector)} numbers, not {known.options['dimension']}")
        if known.options.get("similarity") != "MAX_INNER_PRODUCT":
            raise AssertionError("this one knows no other similarity")
        kept = self.cache.entries if part.filtering is None else self.scores(part.filtering)
        keys = [key for key in kept if part.field in self.cache.entries[key]]
        if not keys:
            return {}
        matrix = numpy.asarray([self.cache.entries[key][part.field] for key in keys], numpy.float32)
        products = matrix @ numpy.asarray(part.vector, numpy.float32)
        scores = numpy.where(products < 0, 1 / (1 - numpy.minimum(products, 0)), products + 1)
        best = numpy.argsort(-scores, kind="stable")[: part.count]
        return {keys[place]: float(scores[place]) for place in best}


def _known(message: Message, name: str) -> Field:
    if name not in message.fields:
        raise Wrong(f"ISPN028501: The type {message.name} does not have an accessible property named '{name}'.")
    return message.fields[name]


def _order(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def _between(part: Between) -> Any:
    low, high = _order(part.low), _order(part.high)
    return lambda value: low <= value <= high


def _comparing(part: Compare) -> Any:
    bound = _order(part.value)
    return {
        "=": lambda value: value == bound,
        "<>": lambda value: value == bound,
        ">": lambda value: value > bound,
        ">=": lambda value: value >= bound,
        "<": lambda value: value < bound,
        "<=": lambda value: value <= bound,
    }[part.sign]
