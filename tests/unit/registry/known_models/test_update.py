"""The files are made anew from a release of litellm."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from apps.registry.known_models.update import MEMBER, PAGE, VENDORS, models_of, update


def entry(provider: str = "openai", **fields: Any) -> dict[str, Any]:
    return {"litellm_provider": provider, "mode": "chat", "source": "https://sky.example/prices", **fields}


PRICED = {"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05}
WINDOW = {"max_input_tokens": 128_000, "max_output_tokens": 4096}


def made(vendor: str, **listed: dict[str, Any]) -> dict[str, Any]:
    return models_of(VENDORS[vendor], listed)


def test_prices_are_dollars_for_a_million_tokens() -> None:
    long = {"input_cost_per_token_above_200k_tokens": 5e-06, "output_cost_per_token_above_200k_tokens": 1.5e-05}
    cached = {"cache_read_input_token_cost": 2.5e-07, "cache_creation_input_token_cost": 3.125e-06}
    assert made("openai", sky=entry(**PRICED, **WINDOW, **long, **cached)) == {
        "sky": {
            "context_length": 128_000,
            "max_output_tokens": 4096,
            "prices": {
                "input": 2.5,
                "cached_input": 0.25,
                "cache_write": 3.125,
                "output": 10,
                "long": [{"above": 200_000, "input": 5, "output": 15}],
            },
            "source": "https://sky.example/prices",
        }
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "image_generation", **PRICED},
        {"litellm_provider": "somebody", **PRICED},
        {"input_cost_per_token": 0, "output_cost_per_token": 0},
        {"output_cost_per_token": 1e-05},
        {"input_cost_per_token": 3.2e-03, "output_cost_per_token": 9.71e-03},
        {"input_cost_per_token": -1, "output_cost_per_token": 1},
    ],
)
def test_what_says_nothing_of_a_model_is_left_out(fields: dict[str, Any]) -> None:
    assert made("openai", sky=entry(**fields)) == {}


def test_an_output_longer_than_the_context_is_left_out() -> None:
    models = made("openai", sky=entry(max_input_tokens=100, max_output_tokens=200))
    assert models["sky"] == {"context_length": 100, "source": "https://sky.example/prices"}


def test_an_embedding_has_a_price_for_its_input_alone() -> None:
    models = made("openai", sky=entry(mode="embedding", input_cost_per_token=2e-08, output_cost_per_token=0.0))
    assert models["sky"]["prices"] == {"input": 0.02}


def test_a_source_that_is_no_address_gives_way_to_where_it_was_read() -> None:
    models = made("openai", sky=entry(**PRICED, source="ask sales"), sea=entry(**PRICED, source=None))
    assert [model["source"] for model in models.values()] == [PAGE, PAGE]


def test_prices_that_depend_on_the_region_are_not_taken_over() -> None:
    dear = PRICED | {"input_cost_per_token": 3e-06}
    models = models_of(
        VENDORS["bedrock"],
        {
            "sky.one": entry("bedrock", **PRICED, **WINDOW),
            "bedrock/eu-west-2/sky.one": entry("bedrock", **dear, **WINDOW),
            "bedrock/us-gov-west-1/sky.two": entry("bedrock", **PRICED),
            "bedrock/us-east-1/1-month-commitment/sky.two": entry("bedrock", **PRICED),
            "sky.two": entry("bedrock", **dear),
        },
    )
    said = {"context_length": 128_000, "max_output_tokens": 4096, "source": "https://sky.example/prices"}
    assert models["sky.one"] == said
    assert models["sky.two"]["prices"]["input"] == 3


def test_a_name_without_a_region_has_no_price_where_a_region_has_another() -> None:
    dear = PRICED | {"input_cost_per_token": 3e-06}
    listed = {
        "sky.one": entry("bedrock", **PRICED, **WINDOW),
        "us.sky.one": entry("bedrock", **dear, **WINDOW),
        "global.sky.one": entry("bedrock", **PRICED, **WINDOW),
        "sky.two": entry("bedrock", **PRICED),
        "us.sky.two": entry("bedrock", **PRICED),
    }
    models = models_of(VENDORS["bedrock"], listed)
    assert [name for name in listed if "prices" not in models[name]] == ["sky.one"]


def test_prices_that_another_source_tells_otherwise_are_not_taken_over() -> None:
    models = models_of(VENDORS["azure"], {"azure/ada": entry("azure", **PRICED, **WINDOW)})
    assert set(models["ada"]) == {"context_length", "max_output_tokens", "source"}


def test_units_of_databricks_are_dollars_but_for_their_rounding() -> None:
    item = entry("databricks", input_cost_per_token=2.99999e-06, input_dbu_cost_per_token=4.2857e-05)
    assert models_of(VENDORS["databricks"], {"databricks/sky": item})["sky"]["prices"] == {"input": 3}


def test_a_line_keeps_its_day_for_as_long_as_it_stays_the_same(tmp_path: Path) -> None:
    wheel = tmp_path / "litellm-9.9.9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(MEMBER, json.dumps({"sky": entry(**PRICED), "sea": entry(**PRICED)}))
    update(wheel, tmp_path)
    path = tmp_path / "openai.json"
    held = json.loads(path.read_text())
    assert held["taken_from"] == "litellm 9.9.9 (MIT)"
    for model in held["models"].values():
        model["since"] = "2020-01-01"
    held["models"]["sea"]["prices"]["input"] = 1
    path.write_text(json.dumps(held))
    update(wheel, tmp_path)
    again = json.loads(path.read_text())["models"]
    assert (again["sky"]["since"], again["sea"]["since"]) == ("2020-01-01", held["checked"])
