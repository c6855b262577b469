"""The files of known models: every line has its source and its days, and numbers that can be."""

from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from apps.inference.providers import PROVIDERS
from apps.registry.known_models import DATA
from apps.registry.known_models.names import VENDORS
from apps.registry.known_models.update import VENDORS as MADE
from llamastack.config.known import KNOWN_PROVIDER_TYPES
from llamastack.model_facts import FACTS, ModelFacts, Rates

FILES = sorted(DATA.glob("*.json"))


def test_each_vendor_has_its_file_and_each_file_its_vendor() -> None:
    written = [path.stem for path in FILES]
    assert written == sorted(names.vendor for names in VENDORS.values()) == sorted(MADE)
    assert set(VENDORS) <= set(PROVIDERS) | KNOWN_PROVIDER_TYPES["inference"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_entry_has_a_source_and_a_date_and_says_something(path: Path) -> None:
    held = orjson.loads(path.read_bytes())
    assert held["taken_from"].endswith("(MIT)")
    checked = date.fromisoformat(held["checked"])
    for name, entry in held["models"].items():
        assert urlsplit(entry["source"]).scheme == "https", name
        assert date.fromisoformat(entry["since"]) <= checked, name
        assert set(entry) - {"source", "since"} <= set(FACTS), name
        assert entry.keys() & set(FACTS), name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_numbers_of_every_entry_can_be(path: Path) -> None:
    models: dict[str, dict[str, Any]] = orjson.loads(path.read_bytes())["models"]
    for name, entry in models.items():
        facts = ModelFacts.model_validate({key: entry[key] for key in FACTS if key in entry})
        if facts.context_length and facts.max_output_tokens:
            assert facts.max_output_tokens <= facts.context_length, name
        if facts.prices:
            lengths = [rates.above for rates in facts.prices.long]
            assert lengths == sorted(set(lengths)), name
            for rates in (facts.prices, *facts.prices.long):
                can_be(rates, name)
            for rates in facts.prices.long:
                assert (rates.input or 0) >= (facts.prices.input or 0), name


def can_be(rates: Rates, name: str) -> None:
    """A token read from a cache costs no more than one that is read, and none costs a thousand times what others do."""
    if rates.input is not None:
        assert rates.input <= 500, name
        assert rates.cached_input is None or rates.cached_input <= rates.input, name
    if rates.cache_write is not None and rates.cache_write_1h is not None:
        assert rates.cache_write <= rates.cache_write_1h, name
    assert (rates.output or 0) <= 2000, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_one_model_stands_in_a_line_and_lines_are_in_order(path: Path) -> None:
    held = orjson.loads(path.read_bytes())
    lines = path.read_text().splitlines()
    assert len(lines) == len(held["models"]) + 2
    assert list(held["models"]) == sorted(held["models"])
    assert len({name.casefold() for name in held["models"]}) == len(held["models"])
