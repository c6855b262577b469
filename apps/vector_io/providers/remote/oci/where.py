"""Filters as conditions on the rows of a chunk's attributes, each value a text whose order is that of the values."""

import hashlib
from dataclasses import dataclass, field

from apps.vector_io.filters import Comparison, Filter, Scalar
from apps.vector_io.providers.ordered import NEXT, text_of, type_of
from apps.vector_io.providers.remote.oci.tables import LONGEST
from llamastack.errors import BadRequest

SIGNS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
MOST_BINDS = 60_000  # of a statement: Oracle takes 65,535
Bind = str | bytes


def digest(text: str) -> bytes:
    """Of any text, as a column of any length has no index."""
    return hashlib.sha256(text.encode()).digest()


def ordered(value: Scalar, param: str) -> str:
    """The type's letter and the value. Raises BadRequest where it is longer than a column."""
    text = type_of(value) + text_of(value)
    if len(text.encode()) > LONGEST:
        raise BadRequest(f"Oracle's database keeps attributes of at most {LONGEST - 1} bytes.", param=param)
    return text


@dataclass(frozen=True, slots=True)
class Where:
    """A condition on `c`, the chunks, with the values of its binds."""

    attributes: str
    binds: dict[str, Bind] = field(default_factory=dict)

    def condition(self, filter: Filter | None) -> str:
        if filter is None:
            return "1 = 1"
        if isinstance(filter, Comparison):
            return self._compared(filter)
        return "(" + f" {filter.operator.upper()} ".join(self.condition(part) for part in filter.filters) + ")"

    def _compared(self, comparison: Comparison) -> str:
        values = [ordered(value, "filters") for value in comparison.values]
        if sign := SIGNS.get(comparison.operator):
            return self._having(comparison.key, self._bounds(sign, values[0]))
        if comparison.operator in ("eq", "in"):
            return self._having(comparison.key, f"a.ordered IN ({self._all(values)})") if values else "1 = 0"
        return self._having(comparison.key, f"a.ordered NOT IN ({self._all(values)})" if values else "1 = 1")

    def _bounds(self, sign: str, value: str) -> str:
        """Among the values of one type: those whose texts begin with its letter."""
        letter = value[0]
        other = f"a.ordered < {self._bind(NEXT[letter])}" if ">" in sign else f"a.ordered >= {self._bind(letter)}"
        return f"a.ordered {sign} {self._bind(value)} AND {other}"

    def _having(self, key: str, condition: str) -> str:
        return (
            f"EXISTS (SELECT 1 FROM {self.attributes} a WHERE a.chunk_key = c.chunk_key "
            f"AND a.attribute_key = {self._bind(digest(key))} AND {condition})"
        )

    def _all(self, values: list[str]) -> str:
        return ", ".join(map(self._bind, values))

    def _bind(self, value: Bind) -> str:
        if len(self.binds) >= MOST_BINDS:
            raise BadRequest(f"Oracle's database compares with at most {MOST_BINDS:,} values.", param="filters")
        name = f"f{len(self.binds)}"
        self.binds[name] = value
        return f":{name}"
