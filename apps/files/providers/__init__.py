"""The files providers that are built: names and dotted paths, nothing heavy."""

from llamastack.provider_specs import ProviderSpec

PROVIDERS = {
    "inline::localfs": ProviderSpec("apps.files.providers.inline.localfs.LocalFiles"),
}
