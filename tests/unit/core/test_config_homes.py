"""Homes of models in a run.yaml: what is on, what is off, and where something is wrong."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from llamastack.cli.weights import needed
from llamastack.config import ConfigError, ModelEntry, StackConfig, load_config
from llamastack.config.homes import Known, ModelHome, Registered, faults, overreach


def loaded(tmp_path: Path, *models: dict[str, Any], env: dict[str, str] | None = None) -> StackConfig:
    providers = [
        {"provider_id": "one", "provider_type": "remote::openai"},
        {"provider_id": "${env.TWO_KEY:+two}", "provider_type": "remote::openai"},
        {"provider_id": "local", "provider_type": "inline::meta-reference", "config": {"model": "a"}},
    ]
    listed = [{"model_type": "llm", **model} for model in models]
    run = {
        "version": 2,
        "image_name": "test",
        "providers": {"inference": providers},
        "registered_resources": {"models": listed},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run, sort_keys=False))
    return load_config(path, env=env or {})


def entry(config: StackConfig, model_id: str) -> ModelEntry:
    return next(model for model in config.registered_resources.models if model.model_id == model_id)


def best(*homes: Any, **fields: Any) -> dict[str, Any]:
    return {"model_id": "best", "homes": list(homes), **fields}


def test_a_model_is_shown_on_its_first_home_by_order(tmp_path: Path) -> None:
    later = {"provider_id": "one", "order": 1}
    config = loaded(tmp_path, best(later, {"provider_id": "local", "provider_model_id": "b"}), env={"TWO_KEY": "k"})
    found = entry(config, "best")
    assert (found.provider_id, found.provider_model_id) == ("local", "b")
    assert found.places() == [("one", "best"), ("local", "b")]


def test_values_come_from_the_environment(tmp_path: Path) -> None:
    home = {"provider_id": "one", "provider_model_id": "${env.NAME}", "weight": "${env.SHARE:=4}"}
    found = entry(loaded(tmp_path, best(home), env={"NAME": "123"}), "best")
    assert found.homes == [ModelHome(provider_id="one", provider_model_id="123", weight=4)]


@pytest.mark.parametrize("off", ["two", "${env.TWO_KEY:+two}", "${env.TWO_KEY:=__disabled__}"])
def test_a_home_on_a_provider_that_is_not_enabled_is_off(tmp_path: Path, off: str) -> None:
    config = loaded(tmp_path, best({"provider_id": off}, {"provider_id": "one"}))
    assert entry(config, "best").homes == [ModelHome(provider_id="one")]
    assert entry(config, "best").declared["homes"][0] == {"provider_id": off}


def test_a_model_without_a_home_that_is_on_is_not_registered_and_may_be_named_all_the_same(tmp_path: Path) -> None:
    top = {"model_id": "top", "homes": [{"model": "best"}, {"provider_id": "one"}]}
    config = loaded(tmp_path, best({"provider_id": "two"}), top)
    assert [model.model_id for model in config.registered_resources.models] == ["top"]
    assert "model best is not registered: none of its homes is enabled" in config.notes


def test_a_model_that_a_provider_has_yet_to_list_may_be_named(tmp_path: Path) -> None:
    homes = ({"model": "one/gpt-9"}, {"model": "two/gpt-9"})
    assert len(entry(loaded(tmp_path, best(*homes)), "best").homes or ()) == 2


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (best({"provider_id": "one"}, provider_id="local"), "models[0].provider_id: with 'homes' it is the first"),
        (best({"provider_id": "one", "wight": 2}), "models[0].homes[0].wight: unknown key; did you mean 'weight'?"),
        ({"model_id": "best", "home": [{"provider_id": "one"}]}, "models[0].home: unknown key; did you mean 'homes'?"),
        ({"model_id": "best", "homes": {"provider_id": "one"}}, "models[0].homes: Input should be a valid list"),
        (best({"provider_id": "${env.NOWHERE}"}), "homes[0].provider_id: the environment variable NOWHERE is not set"),
        (best({"provider_id": "one"}, model_type="embedding"), "needs metadata.embedding_dimension"),
        (best({"provider_id": "one"}, affinity="two words"), "models[0].affinity: String should match"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, model: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, model)
    assert told in str(refused.value)
    assert str(refused.value).startswith(f"{tmp_path / 'run.yaml'}:")
    assert (refused.value.line or 0) > 13


def test_the_weights_of_every_local_home_are_fetched(tmp_path: Path) -> None:
    home = {"provider_id": "local", "provider_model_id": "SmolLM2-135M-Instruct"}
    config = loaded(tmp_path, best({"provider_id": "one"}, home))
    assert list(needed(config)) == ["a", "SmolLM2-135M-Instruct"]


# --- the check itself ---


def several(identifier: str, *homes: ModelHome) -> Registered:
    return Registered(identifier, homes=homes)


def ref(model: str) -> ModelHome:
    return ModelHome(model=model)


def test_the_shortest_way_round_is_told() -> None:
    models = [several("a", ref("b")), several("b", ref("c"), ref("d")), several("c", ref("d")), several("d", ref("a"))]
    known = Known((), {model.identifier: model for model in models})
    [(place, message)] = faults(models[0], models[0].homes, known)
    assert (place, message.partition(" goes")[0]) == (("homes", 0, "model"), "a -> b -> d -> a")


def test_a_circle_elsewhere_is_no_fault_of_this_model_but_too_far() -> None:
    models = [several("a", ref("b")), several("b", ref("c")), several("c", ref("b"))]
    known = Known((), {model.identifier: model for model in models})
    assert "more than 4 models" in overreach(models[0], known)
    assert "more than 4 models" in next(iter(faults(models[0], models[0].homes, known)))[1]


def test_a_lattice_is_looked_through_at_once() -> None:
    """Sixteen homes each, four deep: that is a million ways."""
    layers = [[f"{layer}-{number}" for number in range(16)] for layer in range(5)]
    plain = {name: Registered(name) for name in layers[4]}
    models = {name: several(name, *map(ref, layers[layer + 1])) for layer in range(4) for name in layers[layer]} | plain
    assert "would reach 65536 homes" in overreach(models["0-0"], Known((), models))
