"""Which names mean a model that is known, and what holds where several may be meant."""

import subprocess
import sys

import pytest

from apps.registry.known_models import known_model, vendor_data
from apps.registry.known_models.names import VENDORS


@pytest.mark.parametrize(
    ("provider_type", "name", "written"),
    [
        ("remote::openai", "gpt-4o", "gpt-4o"),
        ("remote::openai", "GPT-4o", "gpt-4o"),
        ("remote::anthropic", "claude-haiku-4-5-20251001", "claude-haiku-4-5-20251001"),
        ("remote::gemini", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("remote::gemini", "google/gemini-2.5-pro", "gemini-2.5-pro"),
        ("remote::vertexai", "google/gemini-2.5-pro", "gemini-2.5-pro"),
        ("remote::vertexai", "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        (
            "remote::vertexai",
            "projects/p/locations/us-central1/publishers/anthropic/models/claude-haiku-4-5@20251001",
            "claude-haiku-4-5@20251001",
        ),
        ("remote::vertexai", "meta/llama-3.3-70b-instruct-maas", "meta/llama-3.3-70b-instruct-maas"),
        (
            "remote::bedrock",
            "arn:aws:bedrock:us-east-1:123:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (
            "remote::bedrock",
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0",
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("remote::azure", "gpt-4o", "gpt-4o"),
        ("remote::groq", "openai/gpt-oss-120b", "openai/gpt-oss-120b"),
        ("remote::watsonx", "ibm/granite-3-8b-instruct", "ibm/granite-3-8b-instruct"),
        ("remote::oci", "meta.llama-3.3-70b-instruct", "meta.llama-3.3-70b-instruct"),
    ],
)
def test_a_name_means_the_model_that_the_data_have_under_it(provider_type: str, name: str, written: str) -> None:
    entry = vendor_data(VENDORS[provider_type]).models[written]
    known = known_model(provider_type, name)
    assert known is not None
    assert (known.facts.context_length, known.source) == (entry["context_length"], entry["source"])
    assert (known.facts.prices is None) == ("prices" not in entry)


def test_each_region_of_bedrock_has_its_own_price() -> None:
    name = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    own = {region: known_model("remote::bedrock", f"{region}{name}") for region in ("us.", "global.", "")}
    paid = {region: known.facts.prices.input for region, known in own.items() if known and known.facts.prices}
    assert paid == {"us.": 3.3, "global.": 3.0}
    assert own[""] is not None
    assert own[""].facts.context_length == 200_000


def test_a_version_that_is_not_known_has_what_all_known_ones_agree_on() -> None:
    """Of gpt-4o one snapshot costs twice as much as the others, and answers with fewer tokens."""
    known = known_model("remote::openai", "gpt-4o-2031-01-01")
    assert known is not None
    assert (known.facts.context_length, known.facts.max_output_tokens, known.facts.prices) == (128_000, None, None)
    haiku = known_model("remote::anthropic", "claude-haiku-4-5-20310101")
    assert haiku is not None
    assert haiku.facts == getattr(known_model("remote::anthropic", "claude-haiku-4-5"), "facts", None)


def test_a_region_that_is_not_known_has_no_price_where_others_differ() -> None:
    known = known_model("remote::bedrock", "ca.anthropic.claude-sonnet-4-5-20250929-v1:0")
    assert known is not None
    assert (known.facts.context_length, known.facts.prices) == (200_000, None)


@pytest.mark.parametrize(
    ("provider_type", "name"),
    [
        ("remote::openai", "gpt"),
        ("remote::openai", "my-gpt-4o"),
        ("remote::openai", "gpt-4o-mine"),
        ("remote::openai", "openai/gpt-4o"),
        ("remote::openai", ""),
        ("remote::vllm", "gpt-4o"),
        ("inline::meta-reference", "gpt-4o"),
        ("remote::bedrock", "arn:aws:bedrock:us-east-1:123:application-inference-profile/x1"),
        ("remote::bedrock", "arn:aws:bedrock:us-east-1:123:provisioned-model/anthropic.claude-v2"),
        ("remote::fireworks", "accounts/mine/models/deepseek-v3"),
    ],
)
def test_nothing_is_known_of_a_name_that_only_resembles_one(provider_type: str, name: str) -> None:
    assert known_model(provider_type, name) is None


def test_no_file_is_read_before_a_model_is_asked_for() -> None:
    program = (
        "import apps.registry.known_models as known; assert known.vendor_data.cache_info().currsize == 0;"
        "known.known_model('remote::groq', 'x'); assert known.vendor_data.cache_info().currsize == 1"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
