"""Makes the files in `data` anew from a release of litellm, whose maintainers keep these facts with their sources:

    pip download --no-deps --only-binary :all: litellm
    python -m apps.registry.known_models.update litellm-*.whl

Its data are under the MIT licence, copyright Berri AI; facts alone are taken over, for the vendors we have. An entry
that stays as it was keeps its line, so that a diff shows what changed.
"""

import argparse
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from apps.registry.known_models import DATA
from llamastack.model_facts import FACTS, ModelFacts

MEMBER = "litellm/model_prices_and_context_window_backup.json"
PAGE = "https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json"
MODES = ("chat", "responses", "completion", "embedding", "rerank")
RATES = {
    "input": "input_cost_per_token",
    "cached_input": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "output": "output_cost_per_token",
}
LENGTHS = (100, 128, 200, 256, 272, 512)  # thousands of tokens of input above which a vendor asks for more
# Bedrock's profiles: where one has a price of its own, a name without any costs what its region asks.
REGIONS = ("us.", "eu.", "apac.", "au.", "jp.", "ca.")
DEAREST = 2000  # dollars for a million tokens
# Where genai-prices 0.2.3 says another price; the rest of what both know they have alike.
DOUBTED = {
    "azure/ada", "azure/text-embedding-3-large", "azure/text-embedding-3-small", "azure/text-embedding-ada-002",
    "fireworks_ai/accounts/fireworks/models/deepseek-v4-flash-0731",
    "fireworks_ai/accounts/fireworks/models/deepseek-v4-pro",
    "fireworks_ai/accounts/fireworks/models/gemma-3-27b-it",
    "fireworks_ai/accounts/fireworks/models/llama-v3p1-8b-instruct",
    "gemini-3.8-flash-cyber", "vertex_ai/gemini-3.8-flash-cyber",
    "together_ai/NousResearch/Nous-Hermes-2-Mixtral-8x7B-DPO", "together_ai/Qwen/Qwen3.7-Max",
    "together_ai/Qwen/Qwen3.8-2.4T-A95B", "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "together_ai/mistralai/Mixtral-8x7B-Instruct-v0.1",
    "vertex_ai/claude-3-5-haiku", "vertex_ai/claude-3-5-haiku@20241022",
}  # fmt: skip
# Other contracts than the usual one: reserved throughput, and the regions of the United States' government.
APART = ("commitment", "us-gov-", "claude_platform")


@dataclass(frozen=True)
class Kept:
    """Which entries are a vendor's: litellm's names of it, and what it writes before the model's name."""

    providers: tuple[str, ...]
    prefixes: tuple[str, ...]
    bare: bool = False  # names without a prefix are models too


VERTEX = ("anthropic", "deepseek", "llama", "minimax", "mistral", "moonshot", "openai", "qwen", "zai", "ai21")
VENDORS = {
    "anthropic": Kept(("anthropic",), (), bare=True),
    "azure": Kept(("azure", "azure_ai", "azure_text"), ("azure/", "azure_ai/")),
    "bedrock": Kept(("bedrock", "bedrock_converse", "bedrock_mantle"), ("bedrock/", "bedrock_mantle/"), bare=True),
    "cerebras": Kept(("cerebras",), ("cerebras/",)),
    "databricks": Kept(("databricks",), ("databricks/",)),
    "fireworks": Kept(("fireworks_ai", "fireworks_ai-embedding-models"), ("fireworks_ai/",)),
    "gemini": Kept(("gemini",), ("gemini/",)),
    "groq": Kept(("groq",), ("groq/",)),
    "llama": Kept(("meta_llama",), ("meta_llama/",)),
    "oci": Kept(("oci",), ("oci/",)),
    "openai": Kept(("openai", "text-completion-openai"), (), bare=True),
    "sambanova": Kept(("sambanova",), ("sambanova/",)),
    "together": Kept(("together_ai",), ("together_ai/",)),
    "vertexai": Kept(
        (
            "vertex_ai", "vertex_ai-language-models", "vertex_ai-embedding-models",
            *(f"vertex_ai-{name}_models" for name in VERTEX),
        ),
        ("vertex_ai/",),
        bare=True,
    ),
    "watsonx": Kept(("watsonx",), ("watsonx/",)),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("wheel", type=Path, help="a release of litellm, as pip downloads it")
    update(parser.parse_args().wheel, DATA)


def update(wheel: Path, folder: Path) -> None:
    release = " ".join(wheel.name.split("-")[:2])
    with zipfile.ZipFile(wheel) as archive:
        listed = json.loads(archive.read(MEMBER), parse_float=Decimal)
    for vendor, kept in VENDORS.items():
        write(folder / f"{vendor}.json", models_of(kept, listed), release)


def models_of(kept: Kept, listed: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The vendor's models by its own names for them. What is said of one several times counts where it is the same."""
    models: dict[str, dict[str, Any]] = {}
    for key, item in listed.items():
        name = own_name(kept, key)
        if name and item.get("litellm_provider") in kept.providers and item.get("mode") in MODES:
            entry = facts(item, doubted=key in DOUBTED)
            models[name] = agreed(models[name], entry) if name in models else entry
    for name, entry in models.items():
        twins = [models[region + name] for region in REGIONS if region + name in models]
        if any(twin.get("prices") != entry.get("prices") for twin in twins):
            entry.pop("prices", None)
    return {name: entry for name, entry in models.items() if entry.keys() & set(FACTS)}


def own_name(kept: Kept, key: str) -> str | None:
    """The vendor's name of a model, without the region or the contract that litellm puts before it."""
    if any(mark in key for mark in APART):
        return None
    prefix = next((prefix for prefix in kept.prefixes if key.startswith(prefix)), None)
    if prefix is None:
        return key if kept.bare and "/" not in key else None
    name = key.removeprefix(prefix)
    if prefix == "bedrock/":
        return name.rpartition("/")[2]  # a price of one region
    if prefix == "azure/" and "/" in name:
        return None  # a price of one region: a deployment's name does not tell it
    return name


def facts(item: dict[str, Any], doubted: bool) -> dict[str, Any]:
    """An entry of ours. Facts that cannot be are left out."""
    context, output = item.get("max_input_tokens"), item.get("max_output_tokens")
    if item["mode"] in ("embedding", "rerank") or (context and output and output > context):
        output = None
    said = {"context_length": context, "max_output_tokens": output, "prices": not doubted and prices(item)}
    entry = {name: value for name, value in said.items() if value}
    try:
        ModelFacts.model_validate(entry)
    except ValidationError:
        entry = {}
    return entry | {"source": source(item)}


def source(item: dict[str, Any]) -> str:
    written = str(item.get("source", ""))
    return written if written.startswith("https://") and " " not in written else PAGE


def prices(item: dict[str, Any]) -> dict[str, Any]:
    """Models of which every price is nought are not free but sold by the hour, or not yet sold.

    A price beyond all others is one for a thousand times as many tokens.
    """
    rates = rates_of(item, "")
    if item["mode"] == "embedding":
        rates.pop("output", None)
    if "input" not in rates or not any(rates.values()) or max(rates.values()) > DEAREST:
        return {}
    long = [
        {"above": length * 1000} | found for length in LENGTHS if (found := rates_of(item, f"_above_{length}k_tokens"))
    ]
    return rates | ({"long": long} if long else {})


def rates_of(item: dict[str, Any], length: str) -> dict[str, Any]:
    """Dollars for a million tokens."""
    digits = 4 if "input_dbu_cost_per_token" in item else 8  # Databricks' own units are rounded
    return {
        name: number(item[key + length], digits) for name, key in RATES.items() if item.get(key + length) is not None
    }


def number(price: Any, digits: int) -> float | int:
    million = Context(prec=digits).multiply(Decimal(price), 1_000_000)
    return int(million) if million == int(million) else float(million)


def agreed(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {"source": one["source"]} | {
        name: one[name] for name in FACTS if name in one and one[name] == other.get(name)
    }


def write(path: Path, models: dict[str, dict[str, Any]], release: str) -> None:
    """One model a line. `since`: when it was first found to be so."""
    today = datetime.now(UTC).date().isoformat()
    before = json.loads(path.read_text())["models"] if path.is_file() else {}
    head = {"taken_from": f"{release} (MIT)", "checked": today}
    lines = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in since(models, before, today)]
    path.write_text(json.dumps(head)[:-1] + ', "models": {\n' + ",\n".join(lines) + "\n}}\n")


def since(
    models: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]], today: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in sorted(models):
        entry, old = models[name], dict(before.get(name, {}))
        day = old.pop("since", today)
        ordered = {key: entry[key] for key in (*FACTS, "source") if key in entry}
        yield name, ordered | {"since": day if old == ordered else today}


if __name__ == "__main__":
    main()
