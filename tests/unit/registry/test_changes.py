"""What applying a run.yaml changes, told by name and never by value."""

import json
from pathlib import Path
from typing import Any

import pytest

from apps.access.models import SnapshotVersion
from apps.registry import changes, service
from apps.registry.changes import Change
from apps.registry.models import Model, Provider
from llamastack.config import StackConfig, load_config

pytestmark = pytest.mark.django_db
ONE = ("inference provider", "one")


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """A run.yaml with a provider of each of these ids and configs, a model `m` on the first one, and these stores."""

    def loaded(*stores: dict[str, Any], **configs: dict[str, Any]) -> StackConfig:
        providers = [
            {"provider_id": name, "provider_type": "remote::openai", "config": config}
            for name, config in configs.items()
        ]
        models = [{"model_id": "m", "provider_id": next(iter(configs))}]
        resources = {"models": models, "vector_stores": list(stores)}
        run = {"version": 2, "providers": {"inference": providers}, "registered_resources": resources}
        path = tmp_path / "run.yaml"
        path.write_text(json.dumps(run))
        return load_config(path)

    return loaded


def test_what_is_new_what_differs_and_what_is_gone(config: Any) -> None:
    assert changes.apply(config(one={}, two={})) == [
        Change("added", *ONE),
        Change("added", "inference provider", "two"),
        Change("added", "model", "m"),
    ]
    assert changes.apply(config(one={"base_url": "http://127.0.0.1:9/v1"})) == [
        Change("changed", *ONE, ("config.base_url",)),
        Change("disabled", "inference provider", "two"),
    ]
    again = changes.apply(config(one={}, two={}))
    assert [(change.verb, change.identifier) for change in again] == [("changed", "one"), ("enabled", "two")]


def test_a_vector_store_comes_and_goes(config: Any) -> None:
    store = {"vector_store_id": "docs", "embedding_model": "m", "embedding_dimension": 3}
    changes.apply(config(one={}))
    assert changes.apply(config(store, one={})) == [Change("added", "vector store", "docs")]
    assert changes.apply(config(store, one={})) == []
    assert changes.apply(config(one={})) == [Change("disabled", "vector store", "docs")]


def test_the_same_again_is_no_change(config: Any) -> None:
    changes.apply(config(one={"api_key": "sk-literal"}))
    assert changes.apply(config(one={"api_key": "sk-literal"})) == []


def test_a_secret_is_named_and_not_told(config: Any) -> None:
    changes.apply(config(one={"api_key": "sk-literal"}))
    found = changes.apply(config(one={"api_key": "sk-other"}))
    assert found == [Change("changed", *ONE, ("config.api_key",))]


def test_a_dry_run_tells_the_same_and_changes_nothing(config: Any) -> None:
    changes.apply(config(one={}))
    before = SnapshotVersion.current(), Provider.objects.get().version
    wanted = config(two={"base_url": "http://127.0.0.1:9/v1"})
    would = changes.apply(wanted, dry_run=True)
    assert (SnapshotVersion.current(), Provider.objects.get().version) == before
    assert (Model.objects.get().declared["provider_id"], changes.apply(wanted)) == ("one", would)


def test_an_edit_that_holds_over_the_file_is_mentioned(config: Any) -> None:
    changes.apply(config(one={}))
    service.edit_provider(Provider.objects.get(), {"base_url": "http://127.0.0.1:8/v1"}, enabled=True)
    found = changes.apply(config(one={"base_url": "http://127.0.0.1:9/v1"}))
    assert found == [Change("changed", *ONE, ("config.base_url (an edit of it holds)",))]


def test_a_row_of_the_admin_that_the_file_takes_over(config: Any) -> None:
    service.edit_provider(Provider(identifier="one", provider_type="remote::openai"), {}, enabled=True)
    assert changes.apply(config(one={}))[0] == Change("changed", *ONE, ("origin",))
