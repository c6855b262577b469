"""The vector_io providers that are built: names and dotted paths, nothing heavy."""

from llamastack.provider_specs import ProviderSpec

PROVIDERS: dict[str, ProviderSpec] = {}
