"""Our own engine on transformers. Importing this package imports neither torch nor transformers."""

from apps.inference.providers.inline.meta_reference.provider import MetaReference

__all__ = ["MetaReference"]
