"""The config class of a provider's row, and its settings under the names that the class gives them."""

from collections.abc import Mapping
from typing import Any

from llamastack.apis import Api
from llamastack.providers import ProviderConfig, find, load


def config_class(api: str, provider_type: str, module: str | None = None) -> type[ProviderConfig] | None:
    """The config class of a type, or None where the type is not built or cannot be loaded here."""
    try:
        spec = find(Api(api), provider_type, module)
        return load(spec).config_class if spec else None
    except Exception:  # a third party's module may raise anything; its provider is unavailable and says why
        return None


def by_own_names(kind: type[ProviderConfig] | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """A config as somebody wrote it, with each setting under its field's own name."""
    return kind.by_own_names(values) if kind else dict(values)


def as_written(kind: type[ProviderConfig] | None, values: Mapping[str, Any], written: Mapping[str, Any]) -> Any:
    """A config with own names, each setting under the name that `written` has for it."""
    others = {own: other for other, own in kind.other_names.items() if other in written} if kind else {}
    return {others.get(name, name): value for name, value in values.items()}
