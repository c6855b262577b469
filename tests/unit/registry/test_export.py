"""The registry written back as a run.yaml: what it holds, what it hides, and that it reads as it was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from apps.registry import service
from apps.registry.effective import model_record, provider_record
from apps.registry.export import Export, export
from apps.registry.models import Model, Origin, Provider
from llamastack.config import document, load_config

pytestmark = pytest.mark.django_db
SWITCHES = (
    "OPENAI_API_KEY",
    "OLLAMA_URL",
    "VLLM_URL",
    "LLAMA_API_KEY",
    "GROQ_API_KEY",
    "NVIDIA_API_KEY",
    "CEREBRAS_API_KEY",
)
URL = "http://127.0.0.1:9/v1"


def openai(provider_id: str = "one", **config: Any) -> dict[str, Any]:
    return {"provider_id": provider_id, "provider_type": "remote::openai", "config": {"base_url": URL} | config}


def llm(model_id: str, provider_id: str = "one", **fields: Any) -> dict[str, Any]:
    return {"model_id": model_id, "provider_id": provider_id, "model_type": "llm", **fields}


def exported(source: str | Path) -> Export:
    return export(load_config(source), document(source))


def providers(made: Export) -> dict[str, Any]:
    return {entry["provider_id"]: entry.get("config") for entry in made.run["providers"]["inference"]}


def models(made: Export) -> dict[str, Any]:
    return {entry["model_id"]: entry for entry in made.run["registered_resources"]["models"]}


def snapshot() -> list[Any]:
    """What the hot path would know, but for keys, moments and origins."""
    found = [provider_record(row) for row in Provider.objects.order_by("identifier") if row.enabled]
    listed = [model_record(row) for row in Model.objects.order_by("identifier") if row.enabled]
    return [replace(provider, key=0) for provider in found] + [
        replace(model, key=0, created=0, origin="") for model in listed
    ]


@pytest.mark.parametrize("switched", [(), SWITCHES, ("VLLM_URL",)])
@pytest.mark.parametrize("name", ["starter", "remote-only"])
def test_a_built_in_distribution_comes_out_as_it_went_in(
    name: str, switched: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in switched:
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    service.apply(load_config(name))
    made = exported(name)
    assert made.run == document(name)
    assert (made.variables, made.notes) == ({}, [])


def test_what_is_exported_reads_as_what_was_registered(
    apply: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = apply(
        [openai(api_key="sk-file"), openai("two", api_key="${env.NO_SUCH_KEY:=none}")],
        [llm("m"), llm("v", "two", model_type="embedding", metadata={"embedding_dimension": 3})],
    )
    service.edit_provider(Provider.objects.get(identifier="two"), {"base_url": "http://127.0.0.1:8/v1"}, enabled=True)
    service.edit_provider(Provider(identifier="mine", provider_type="remote::vllm"), {"url": URL}, enabled=True)
    service.edit_model(Model.objects.get(identifier="m"), {"aliases": ["em"], "default": True})
    service.edit_model(
        Model(identifier="a/b"), {"provider_id": "mine", "model_type": "rerank", "metadata": {"n": [1, None]}}
    )
    before = snapshot()
    made = exported(source)
    target = tmp_path / "exported.yaml"
    target.write_text(yaml.safe_dump(made.run, sort_keys=False))
    assert "sk-file" not in target.read_text()
    Provider.objects.all().delete()
    Model.objects.all().delete()
    monkeypatch.setenv("ONE_API_KEY", "sk-file")
    service.apply(load_config(target))
    assert snapshot() == before
    again = exported(target)
    assert (again.run, again.variables) == (made.run, {})


def test_edits_are_merged_and_references_stay(apply: Any) -> None:
    source = apply([openai(api_key="${env.NO_SUCH_KEY:=d}")])
    service.edit_provider(Provider.objects.get(), {"base_url": "http://127.0.0.1:8/v1"}, enabled=True)
    assert providers(exported(source))["one"] == {
        "base_url": "http://127.0.0.1:8/v1",
        "api_key": "${env.NO_SUCH_KEY:=d}",
    }


def test_a_literal_secret_becomes_a_variable_that_is_named(apply: Any) -> None:
    made = exported(apply([openai("my-gate.way", api_key="sk-literal")]))
    assert providers(made)["my-gate.way"]["api_key"] == "${env.MY_GATE_WAY_API_KEY}"
    assert made.variables == {"MY_GATE_WAY_API_KEY": "providers.inference.my-gate.way.api_key"}


def test_secrets_further_down_in_addresses_and_in_other_sections_go_too(apply: Any) -> None:
    store = {"type": "postgres", "password": "hunter2", "hosts": [{"api_key": "hunter2"}]}
    later = {"provider_id": "later", "provider_type": "remote::thegrid", "config": {"kvstore": store}}
    backend = {"type": "kv_postgres", "user": "u", "password": "hunter2"}
    addressed = openai("at", base_url="http://user:hunter2@127.0.0.1:9/v1")
    made = exported(apply([later, addressed], storage={"backends": {"kv": backend}}))
    assert "hunter2" not in yaml.safe_dump(made.run)
    assert set(made.variables) == {
        "LATER_KVSTORE_PASSWORD",
        "LATER_KVSTORE_HOSTS_0_API_KEY",
        "AT_BASE_URL",
        "STORAGE_BACKENDS_KV_PASSWORD",
    }


def test_an_address_whose_password_is_a_reference_stays(apply: Any) -> None:
    url = "http://user:${env.NO_SUCH_KEY:=x}@127.0.0.1:9/v1"
    assert providers(exported(apply([openai(base_url=url)])))["one"]["base_url"] == url


def test_two_secrets_never_share_a_variable(apply: Any) -> None:
    made = exported(
        apply([openai("a-b", api_key="sk-1"), openai("a_b", api_key="sk-2"), openai("a.b", api_key="sk-3")])
    )
    assert set(made.variables) == {"A_B_API_KEY", "A_B_API_KEY_2", "A_B_API_KEY_3"}
    assert len({config["api_key"] for config in providers(made).values()}) == 3


def test_what_is_disabled_is_left_out_with_what_stands_on_it(apply: Any) -> None:
    source = apply([openai(), openai("two")], [llm("m"), llm("off"), llm("on-two", "two")])
    service.edit_provider(Provider.objects.get(identifier="two"), {}, enabled=False)
    service.edit_model(Model.objects.get(identifier="off"), {"enabled": False})
    made = exported(source)
    assert (set(providers(made)), set(models(made))) == ({"one"}, {"m"})
    assert made.notes == [
        "provider two: disabled, and left out",
        "model off: disabled, and left out",
        "model on-two: its provider is left out, and so is it",
    ]


def test_what_is_discovered_or_of_one_tenant_is_left_out(apply: Any) -> None:
    source = apply([openai()])
    Model(identifier="one/found", origin=Origin.discovered, declared={"provider_id": "one"}).save()
    Model(identifier="one/edited", origin=Origin.discovered, declared={"provider_id": "one"}).save()
    service.edit_model(Model.objects.get(identifier="one/edited"), {"aliases": ["e"]})
    service.edit_model(Model(identifier="theirs", tenant="default"), {"provider_id": "one"})
    made = exported(source)
    assert models(made) == {}
    assert made.notes == [
        "model theirs: of one tenant, and left out: a run.yaml is for all tenants",
        "model one/edited: discovered, and left out with the edits made to it",
    ]


def test_a_file_that_was_not_applied_is_said_to_be_so(apply: Any, tmp_path: Path) -> None:
    made = exported("starter")
    assert made.run["providers"]["inference"] != []  # those that wait for their variable
    assert "model SmolLM2-135M-Instruct, all-MiniLM-L6-v2: not applied yet, and left out" in made.notes


def test_homes_come_back_as_they_hold(apply: Any, tmp_path: Path) -> None:
    source = apply(
        [openai(), openai("two"), openai("off")],
        [
            {"model_id": "fast", "model_type": "llm", "homes": [{"provider_id": "one"}, {"model": "one/new"}]},
            {"model_id": "best", "model_type": "llm", "homes": [{"provider_id": "one"}], "affinity": "user"},
            llm("plain", aliases=["simple"]),
            {"model_id": "lost", "model_type": "llm", "homes": [{"model": "sunk"}, {"provider_id": "off"}]},
            {"model_id": "sunk", "model_type": "llm", "homes": [{"provider_id": "off"}]},
        ],
    )
    homes = [{"model": "fast"}, {"provider_id": "two", "weight": 3}, {"model": "simple", "order": 2}, {"model": "lost"}]
    service.edit_model(Model.objects.get(identifier="best"), {"homes": homes})
    both = [{"provider_id": "one"}, {"provider_id": "two"}]
    service.edit_model(Model.objects.get(identifier="plain"), {"homes": both})
    service.edit_provider(Provider.objects.get(identifier="off"), {}, enabled=False)
    made = exported(source)
    assert models(made)["best"] == {"model_id": "best", "model_type": "llm", "homes": homes[:3], "affinity": "user"}
    assert models(made)["plain"] == {"model_id": "plain", "model_type": "llm", "homes": both, "aliases": ["simple"]}
    assert made.notes[-2:] == [
        "model lost, sunk: its provider is left out, and so is it",
        "model best: a home of it is left out",
    ]
    path = tmp_path / "exported.yaml"
    path.write_text(yaml.safe_dump(made.run))
    before = {name: model_record(Model.objects.get(identifier=name)).homes for name in ("fast", "plain")}
    service.apply(load_config(path))
    assert {name: model_record(Model.objects.get(identifier=name)).homes for name in ("fast", "plain")} == before
    again = exported(path)
    assert again.run == made.run
