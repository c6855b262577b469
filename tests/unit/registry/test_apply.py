"""The YAML enters the registry once, and what an operator changed since stays."""

from typing import Any

import pytest

from apps.access.models import SnapshotVersion
from apps.registry import service
from apps.registry.effective import model_record, provider_record
from apps.registry.models import Model, Origin, Provider, VectorStore
from apps.registry.secrets import MASK, masked
from llamastack.config import load_config
from llamastack.errors import Conflict

pytestmark = pytest.mark.django_db


def openai(provider_id: str = "one", **config: Any) -> dict[str, Any]:
    return {"provider_id": provider_id, "provider_type": "remote::openai", "config": config}


def test_what_is_declared_is_kept_as_written_and_expanded_in_memory(
    apply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "0123")
    apply([openai(api_key="${env.A_KEY}", base_url="${env.NO_URL:=http://127.0.0.1:9/v1}")])
    row = Provider.objects.get()
    assert row.declared["config"] == {"api_key": "${env.A_KEY}", "base_url": "${env.NO_URL:=http://127.0.0.1:9/v1}"}
    assert dict(provider_record(row).config) == {"api_key": "0123", "base_url": "http://127.0.0.1:9/v1"}


def test_a_literal_secret_is_encrypted(apply: Any) -> None:
    apply([openai(api_key="sk-literal")])
    row = Provider.objects.get()
    assert row.declared["config"]["api_key"].startswith("enc:v1:")
    assert provider_record(row).config["api_key"] == "sk-literal"


def test_a_number_of_more_than_64_bits_stops_no_other_provider(apply: Any) -> None:
    apply([{"provider_id": "later", "provider_type": "remote::thegrid", "config": {"seed": 2**70}}])
    assert provider_record(Provider.objects.get()).config == {"seed": 2**70}


def test_secrets_further_down_are_told_by_their_names(apply: Any) -> None:
    store = {"type": "postgres", "password": "hunter2", "hosts": [{"api_key": "hunter2"}]}
    given = [{"provider_id": "later", "provider_type": "remote::thegrid", "config": {"kvstore": store}}]
    apply(given)
    row = Provider.objects.get()
    assert "hunter2" not in str(row.declared)
    assert provider_record(row).config["kvstore"] == store
    shown = masked(None, provider_record(row).config)
    assert shown["kvstore"] == {"type": "postgres", "password": MASK, "hosts": [{"api_key": MASK}]}
    assert "hunter2" not in repr(provider_record(row))
    apply(given)
    assert Provider.objects.get().version == row.version


def test_applying_the_same_again_changes_nothing(apply: Any) -> None:
    given = [openai(api_key="sk-literal")], [{"model_id": "m", "provider_id": "one", "model_type": "llm"}]
    apply(*given)
    before = SnapshotVersion.current(), Provider.objects.get().version, Model.objects.get().version
    apply(*given)
    assert (SnapshotVersion.current(), Provider.objects.get().version, Model.objects.get().version) == before


def test_what_an_operator_changed_wins_over_the_yaml(apply: Any) -> None:
    apply([openai(base_url="http://127.0.0.1:1/v1")])
    service.edit_provider(Provider.objects.get(), {"base_url": "http://127.0.0.1:2/v1"}, enabled=True)
    apply([openai(base_url="http://127.0.0.1:3/v1")])
    row = Provider.objects.get()
    assert row.declared["config"]["base_url"] == "http://127.0.0.1:3/v1"
    assert provider_record(row).config["base_url"] == "http://127.0.0.1:2/v1"


def test_an_entry_gone_from_the_yaml_is_disabled_and_comes_back(apply: Any) -> None:
    apply([openai(), openai("two")], [{"model_id": "m", "provider_id": "two", "model_type": "llm"}])
    apply([openai()])
    assert not Provider.objects.get(identifier="two").enabled
    assert not Model.objects.get(identifier="m").enabled
    apply([openai(), openai("two")])
    assert Provider.objects.get(identifier="two").enabled


def test_rows_of_other_origin_are_untouched(apply: Any) -> None:
    service.edit_provider(Provider(identifier="mine", provider_type="remote::openai"), {}, enabled=True)
    apply([openai()])
    mine = Provider.objects.get(identifier="mine")
    assert (mine.origin, mine.enabled) == (Origin.admin, True)


def test_a_declared_row_cannot_be_deleted_and_the_error_says_what_to_do(apply: Any) -> None:
    apply([openai()], [{"model_id": "m", "provider_id": "one", "model_type": "llm"}])
    with pytest.raises(Conflict, match="disable it instead"):
        service.delete_provider(Provider.objects.get())
    with pytest.raises(Conflict, match="disable it instead"):
        service.delete_model(Model.objects.get())


def test_a_model_of_the_yaml_is_as_it_says(apply: Any) -> None:
    model = {
        "model_id": "vectors",
        "provider_id": "one",
        "provider_model_id": "deep/name",
        "model_type": "embedding",
        "metadata": {"embedding_dimension": 7},
    }
    apply([openai()], [model])
    record = model_record(Model.objects.get())
    assert (record.identifier, record.provider_model_id, record.model_type) == ("vectors", "deep/name", "embedding")
    assert record.metadata == {"embedding_dimension": 7}


@pytest.mark.parametrize("name", ["starter", "remote-only"])
def test_each_built_in_distribution_applies(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_API_KEY", "OLLAMA_URL", "VLLM_URL", "LLAMA_API_KEY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    service.apply(load_config(name))
    problems = {row.identifier: provider_record(row).unavailable for row in Provider.objects.all()}
    assert set(problems.values()) == {None}, problems


DOCS = {
    "vector_store_id": "docs",
    "embedding_model": "minilm",
    "embedding_dimension": 384,
    "provider_id": "faiss",
}


def test_a_vector_store_of_the_yaml_is_shared_and_goes_with_its_entry(apply: Any) -> None:
    apply([], registered_resources={"vector_stores": [DOCS]})
    row = VectorStore.objects.get()
    assert (row.identifier, row.tenant, row.origin, row.provider_id) == ("docs", "*", Origin.yaml, "faiss")
    apply([], registered_resources={})
    assert VectorStore.objects.get().gone
    apply([], registered_resources={"vector_stores": [DOCS]})
    again = VectorStore.objects.get()
    assert (again.gone, again.key) == (False, row.key)


def test_what_a_vector_store_was_made_for_stays(apply: Any, caplog: pytest.LogCaptureFixture) -> None:
    apply([], registered_resources={"vector_stores": [DOCS]})
    apply([], registered_resources={"vector_stores": [DOCS | {"embedding_model": "other", "embedding_dimension": 2}]})
    row = VectorStore.objects.get()
    assert (row.embedding_model, row.embedding_dimension) == ("minilm", 384)
    assert "Vector store docs was made for other settings" in caplog.text


def test_the_embedding_model_that_vector_stores_prefer_is_the_default(apply: Any) -> None:
    given = [
        {
            "model_id": name,
            "provider_id": "one",
            "provider_model_id": f"inner/{name}",
            "model_type": "embedding",
            "metadata": {"embedding_dimension": 2},
        }
        for name in ("a", "b")
    ]
    preferred = {"default_embedding_model": {"provider_id": "one", "model_id": "inner/b"}}
    apply([openai()], given, vector_stores=preferred)
    assert {row.identifier: model_record(row).default for row in Model.objects.all()} == {"a": False, "b": True}
