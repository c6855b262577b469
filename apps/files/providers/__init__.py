"""The files providers that are built: names and dotted paths, nothing heavy."""

from llamastack.provider_specs import ProviderSpec

REMOTE = "apps.files.providers.remote"
PROVIDERS = {
    "inline::localfs": ProviderSpec("apps.files.providers.inline.localfs.LocalFiles"),
    "remote::openai": ProviderSpec(f"{REMOTE}.openai.OpenAIFiles"),
    "remote::s3": ProviderSpec(f"{REMOTE}.s3.S3", pip_packages=("botocore",), requirements="requirements/aws.txt"),
}
