"""The file processors that are built: names and dotted paths, nothing heavy."""

from llamastack.provider_specs import ProviderSpec

INLINE = "apps.file_processors.providers.inline"
PACKAGES = "requirements/documents.txt"

PROVIDERS = {
    "inline::auto": ProviderSpec(
        f"{INLINE}.auto.Auto", pip_packages=("charset_normalizer",), requirements=PACKAGES, optional=True
    ),
}
