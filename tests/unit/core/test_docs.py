"""What is made of the code is as the code is now."""

import os
import re

import pytest
import yaml

from docs.providers_page import FILE, page
from llamastack.apis import SERVED, Api
from llamastack.config import expand
from llamastack.egress.network import NetworkConfig
from llamastack.providers import load, specs


def test_the_page_of_providers_is_current() -> None:
    assert FILE.read_text() == page(), "Run `make docs`, or `python -m docs.providers_page`, and commit what it writes."


def test_every_type_and_every_field_is_on_it() -> None:
    sections = dict(section.split("\n", 1) for section in FILE.read_text().split("\n### ")[1:])
    built = {provider_type: spec for api in SERVED for provider_type, spec in specs(api).items()}
    assert set(sections) == set(built)
    for provider_type, spec in built.items():
        for field in load(spec).config_class.model_fields:
            assert f"| `{field}` |" in sections[provider_type]


def test_the_examples_of_the_network_section_are_taken_as_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROXY_PASSWORD", "GATEWAY_KEY"):
        monkeypatch.setenv(name, "secret")
    blocks = re.findall(r"```yaml\n(.*?)```", FILE.with_name("network.md").read_text(), re.DOTALL)
    sections = [expand(yaml.safe_load(block), os.environ)["network"] for block in blocks]
    assert [bool(NetworkConfig.model_validate(section).model_fields_set) for section in sections] == [True] * 4


def test_every_key_of_provider_data_is_described() -> None:
    described = FILE.with_name("provider-data.md").read_text()
    for provider_type, spec in (*specs(Api.inference).items(), *specs(Api.vector_io).items()):
        for key in load(spec).reads():
            assert f"| `{provider_type}` | `{key}`" in described
