"""Llama Stack on Django: one API for every AI capability, with providers that plug in behind it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llamastack.client import AsyncLlamaStackAsLibraryClient, LlamaStackAsLibraryClient
    from llamastack.stack import LlamaStack

__version__ = "0.1.0"
__all__ = ["AsyncLlamaStackAsLibraryClient", "LlamaStack", "LlamaStackAsLibraryClient"]

# Imported when they are asked for (PEP 562), so that this import stays light.
_MODULES = {
    "AsyncLlamaStackAsLibraryClient": "llamastack.client",
    "LlamaStack": "llamastack.stack",
    "LlamaStackAsLibraryClient": "llamastack.client",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'llamastack' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
