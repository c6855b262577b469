"""A setting with other names: kept as the YAML has it, one field for who edits it, its secret a secret."""

from pathlib import Path
from typing import Any

import pytest

from apps.registry import service
from apps.registry.effective import provider_record
from apps.registry.export import export
from apps.registry.models import Provider
from apps.registry.origins import class_of, settings_of
from apps.registry.rest.configs import config_changes
from apps.registry.secrets import MASK, masked
from llamastack.config import ConfigError, document, load_config
from llamastack.errors import BadRequest

pytestmark = pytest.mark.django_db
URL = "http://127.0.0.1:9/v1"
OTHER = "http://127.0.0.1:8/v1"


def vllm(**config: Any) -> list[dict[str, Any]]:
    return [{"provider_id": "one", "provider_type": "remote::vllm", "config": config}]


def edited(**changes: Any) -> Provider:
    return service.edit_provider(Provider.objects.get(), changes, enabled=True)


def exported(path: Path) -> Any:
    return export(load_config(path), document(path)).run["providers"]["inference"][0]["config"]


def test_the_yaml_is_kept_as_written(apply: Any) -> None:
    path = apply(vllm(url=URL, api_token="${env.NO_SUCH_TOKEN:=fake}"))
    row = Provider.objects.get()
    assert row.declared["config"] == {"url": URL, "api_token": "${env.NO_SUCH_TOKEN:=fake}"}
    assert dict(provider_record(row).config) == {"base_url": URL, "api_key": "fake"}
    assert exported(path) == row.declared["config"]


def test_a_secret_under_another_name_is_encrypted_and_masked(apply: Any) -> None:
    path = apply(vllm(url=URL, auth_credential="hunter2"))
    row = Provider.objects.get()
    assert row.declared["config"]["auth_credential"].startswith("enc:v1:")
    assert provider_record(row).config["api_key"] == "hunter2"
    assert masked(class_of(row), row.declared["config"])["auth_credential"] == MASK
    assert "hunter2" not in str(exported(path))
    assert set(exported(path)) == {"url", "auth_credential"}


def test_digits_from_the_environment_stay_a_key(apply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "0123")
    apply(vllm(url=URL, api_token="${env.A_TOKEN}"))
    assert provider_record(Provider.objects.get()).config["api_key"] == "0123"


def test_there_is_one_field_for_it_and_it_says_where_its_value_is_from(apply: Any) -> None:
    apply(vllm(url=URL))
    settings = {setting.name: setting for setting in settings_of(Provider.objects.get())}
    assert not {"url", "api_token", "api_base"} & settings.keys()
    assert (settings["base_url"].value, settings["base_url"].origin, settings["base_url"].in_yaml) == (
        URL,
        "YAML",
        True,
    )


@pytest.mark.parametrize("name", ["base_url", "url"])
def test_an_edit_takes_the_place_of_what_the_yaml_says_under_another_name(apply: Any, name: str) -> None:
    path = apply(vllm(url=URL))
    row = edited(**{name: OTHER})
    assert dict(provider_record(row).config) == {"base_url": OTHER}
    assert exported(path) == {"url": OTHER}
    [setting] = [setting for setting in settings_of(row) if setting.name == "base_url"]
    assert (setting.value, setting.origin, setting.edited) == (OTHER, "Admin", True)
    row = service.edit_provider(row, {}, enabled=True, reset={"base_url"})
    assert dict(provider_record(row).config) == {"base_url": URL}


def test_an_edit_outlives_a_yaml_that_changes_the_name(apply: Any) -> None:
    apply(vllm(url=URL))
    edited(base_url=OTHER)
    apply(vllm(base_url=URL))
    record = provider_record(Provider.objects.get())
    assert (dict(record.config), record.unavailable) == ({"base_url": OTHER}, None)


def test_what_the_environment_sets_is_read_only_under_every_name(apply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_URL", URL)
    apply(vllm(url="${env.A_URL}"))
    row = edited(base_url=OTHER)
    assert provider_record(row).config["base_url"] == URL
    [setting] = [setting for setting in settings_of(row) if setting.name == "base_url"]
    assert (setting.locked, setting.origin) == (True, "Environment: A_URL")


def test_scripts_may_send_either_name(apply: Any) -> None:
    apply(vllm(url=URL))
    row = Provider.objects.get()
    assert config_changes(row, {"url": OTHER}) == config_changes(row, {"base_url": OTHER}) == {"base_url": OTHER}


def test_a_secret_goes_to_no_new_address_whatever_it_is_called(apply: Any) -> None:
    apply(vllm(url=URL, api_token="hunter2"))
    with pytest.raises(BadRequest, match="'api_key' was given for another address"):
        edited(base_url=OTHER)
    assert edited(max_tokens=5).override["config"] == {"max_tokens": 5}


def test_two_names_that_differ_stop_the_start_with_their_line(apply: Any) -> None:
    with pytest.raises(ConfigError, match="base_url and url are names of one setting and say different things"):
        apply(vllm(url=URL, base_url=OTHER))


def test_a_bad_value_is_told_where_it_stands(apply: Any) -> None:
    with pytest.raises(ConfigError, match=r"base_url.*\n?.*valid string") as refused:
        apply(vllm(url=["a"]))
    assert refused.value.problems[0].line


def test_a_name_that_is_nearly_another_one_is_pointed_at(apply: Any) -> None:
    with pytest.raises(ConfigError, match="api_token"):
        apply(vllm(url=URL, api_tokn="x"))
