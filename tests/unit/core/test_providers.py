"""What a provider is, and how a class is found by its type."""

import sys
import types

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


def test_a_module_that_is_missing_says_so() -> None:
    with pytest.raises(ProviderUnavailable, match="no_such_module"):
        find(Api.inference, "remote::acme", "no_such_module")


def test_an_api_that_is_not_served_has_no_providers() -> None:
    assert specs(Api.safety) == {}
    assert specs(Api.models) == {}
