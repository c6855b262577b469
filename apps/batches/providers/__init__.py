"""The batches providers that are built: names and dotted paths, nothing heavy."""

from llamastack.provider_specs import ProviderSpec

PROVIDERS = {
    "inline::reference": ProviderSpec("apps.batches.providers.inline.reference.ReferenceBatches"),
}
