"""Near matches for what was probably meant."""

import pytest

from llamastack.near import near

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
