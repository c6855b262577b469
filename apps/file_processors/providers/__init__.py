"""The file processors that are built: names and dotted paths, nothing heavy."""

from llamastack.provider_specs import ProviderSpec

INLINE = "apps.file_processors.providers.inline"
REMOTE = "apps.file_processors.providers.remote"
PACKAGES = "requirements/documents.txt"

PROVIDERS = {
    "inline::auto": ProviderSpec(
        f"{INLINE}.auto.Auto",
        pip_packages=("charset-normalizer", "markitdown", "pypdf", "pypdfium2"),
        requirements=PACKAGES,
        optional=True,
    ),
    "inline::markitdown": ProviderSpec(
        f"{INLINE}.markitdown.Markitdown",
        pip_packages=("charset-normalizer", "markitdown"),
        requirements=PACKAGES,
    ),
    "inline::pypdf": ProviderSpec(
        f"{INLINE}.pypdf.Pypdf", pip_packages=("charset-normalizer", "pypdf"), requirements=PACKAGES
    ),
    "remote::docling-serve": ProviderSpec(f"{REMOTE}.docling_serve.DoclingServe"),
    "remote::unstructured-api": ProviderSpec(f"{REMOTE}.unstructured_api.Unstructured"),
}
