"""Near matches for what was probably meant."""

import pytest

from llamastack.near import FEW, LOOKED_AT, Neighbours, alike, near

MODELS = ["SmolLM2-135M-Instruct", "sentence-transformers/all-MiniLM-L6-v2", "openai/gpt-4o"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("SmolLM2-135M-Instrukt", MODELS[0]),
        ("smollm2", MODELS[0]),
        ("all-MiniLM-L6-v2", MODELS[1]),
        ("gpt-4o", MODELS[2]),
        ("gpt", None),
        ("qwen3", None),
        ("x" * 1_000_000, None),
    ],
)
def test_a_misspelt_or_shortened_name_is_found(word: str, meant: str | None) -> None:
    assert near(word, MODELS) == meant


MANY = [f"maker/{family}-{number:04}-instruct" for family in ("llama", "qwen", "gemma") for number in range(1000)]
KNOWN = Neighbours([], []).exchanged([], MANY)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("lama-0417-instruct", "maker/llama-0417-instruct"),
        ("llama-0417-instrukt", "maker/llama-0417-instruct"),
        ("Qwen-0007", "maker/qwen-0007-instruct"),
        ("another/gemma-0999-instruct", "maker/gemma-0999-instruct"),
    ],
)
def test_among_thousands_a_misspelt_name_is_found_by_looking_at_some(word: str, meant: str) -> None:
    around = KNOWN.around(word)
    assert len(around) <= 2 * LOOKED_AT
    assert meant in alike(word, around, 3)


def test_a_few_names_are_all_looked_at() -> None:
    few = Neighbours([], []).exchanged([], MANY[:FEW])
    assert sorted(few.around("zzz")) == MANY[:FEW]


def test_names_that_come_and_go_are_known_or_not() -> None:
    known = KNOWN.exchanged(["maker/qwen-0007-instruct", "never/there"], ["maker/qwen-x"])
    assert len(known) == len(KNOWN) == len(MANY)
    assert "maker/qwen-0007-instruct" not in known.around("qwen-0007-instruct")
    assert "maker/qwen-x" in known.around("qwen-x")
    assert "maker/qwen-0007-instruct" in KNOWN.around("qwen-0007-instruct")
