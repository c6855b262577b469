"""What a provider is, and how a class is found by its type."""

import re
import sys
import types
from pathlib import Path

import pytest

from llamastack.apis import Api
from llamastack.providers import Provider, ProviderSpec, ProviderUnavailable, find, load, specs


def test_a_third_partys_module_brings_its_own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("acme_provider")
    module.PROVIDERS = {"remote::acme": ProviderSpec("llamastack.providers.Provider")}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "acme_provider", module)
    spec = find(Api.inference, "remote::acme", "acme_provider")
    assert spec is not None
    assert (spec.provider_type, spec.kind, load(spec)) == ("remote::acme", "remote", Provider)
    assert find(Api.inference, "remote::other", "acme_provider") is None


def test_a_package_as_the_guide_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    guide = Path(__file__).resolve().parents[3] / "docs" / "adding-a-provider.md"
    blocks = re.findall(r"```python\n# [^\n]*/(\w+\.py)\n(.*?)```", guide.read_text(), re.DOTALL)
    package = tmp_path / "acme_llamastack"
    package.mkdir()
    for name, text in (blocks[0], blocks[-1]):
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    spec = find(Api.inference, "remote::acme", "acme_llamastack")
    assert spec is not None
    config = load(spec).config_class()
    assert config.model_dump()["base_url"] == "https://api.acme.example/v1"


def test_a_module_that_is_missing_says_so() -> None:
    with pytest.raises(ProviderUnavailable, match="no_such_module"):
        find(Api.inference, "remote::acme", "no_such_module")


def test_an_api_that_is_not_served_has_no_providers() -> None:
    assert specs(Api.safety) == {}
    assert specs(Api.models) == {}
