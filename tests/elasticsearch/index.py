"""An index: what has been written, what a refresh has made visible, and the words of it."""

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.elasticsearch.mapping import Definition

Source = dict[str, Any]


@dataclass(frozen=True)
class Written:
    """A document as one write left it."""

    id: str
    source: Source
    number: int  # of the write

    def values(self, path: str) -> list[Any]:
        found: Any = self.source
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return found if isinstance(found, list) else [] if found is None else [found]


@dataclass
class Index:
    """`live` is what a write or a GET sees, `visible` what a search does."""

    name: str
    definition: Definition
    aliases: list[str]
    live: dict[str, Written] = field(default_factory=dict)
    visible: dict[str, Written] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    writes: int = 0

    def __post_init__(self) -> None:
        # BM25 with Elasticsearch's own parameters, over words that are stemmed alike.
        self.words = sqlite3.connect(":memory:", check_same_thread=False)
        self.words.execute(
            "CREATE VIRTUAL TABLE words USING "
            "fts5(id UNINDEXED, content, tokenize='porter unicode61 remove_diacritics 2')"
        )

    @property
    def text_field(self) -> str:
        return next(name for name, given in self.definition.fields.items() if given["type"] == "text")

    def write(self, id: str, source: Source) -> bool:
        """Whether it is a new one."""
        self.definition.check(source)
        new = id not in self.live
        self.writes += 1
        self.live[id] = Written(id, source, self.writes)
        self.changed.add(id)
        return new

    def forget(self, id: str) -> bool:
        self.changed.add(id)
        return self.live.pop(id, None) is not None

    def refresh(self) -> None:
        for id in self.changed:
            if self.visible.pop(id, None) is not None:
                self.words.execute("DELETE FROM words WHERE id = ?", [id])
            if id in self.live:
                self.visible[id] = self.live[id]
                self._spell(self.live[id])
        self.changed.clear()

    def _spell(self, written: Written) -> None:
        if any(given["type"] == "text" for given in self.definition.fields.values()):
            text = " ".join(map(str, written.values(self.text_field)))
            self.words.execute("INSERT INTO words (id, content) VALUES (?, ?)", [written.id, text])

    def worded(self, text: str, every: bool) -> dict[str, float]:
        """The visible documents that have these words, and their scores."""
        words = [f'"{word}"' for word in re.findall(r"\w+", text)]
        if not words:
            return {}
        asked = (" AND " if every else " OR ").join(words)
        found = self.words.execute("SELECT id, -bm25(words) FROM words WHERE words MATCH ?", [asked])
        return {id: max(score, 1e-6) for id, score in found.fetchall()}
