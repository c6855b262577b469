"""Google Cloud's Application Default Credentials, each as what issues access tokens.

Where they are looked for: https://cloud.google.com/docs/authentication/application-default-credentials
Key files of every kind are google-auth's to read and to renew: https://googleapis.dev/python/google-auth/latest
The metadata server is asked here, since google-auth brings a second HTTP client for it:
https://cloud.google.com/compute/docs/access/authenticate-workloads#applications
"""

import asyncio
import importlib
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from apps.inference.providers.remote.tokens import Credentials
from apps.inference.providers.remote.vertexai.bridge import Bridge
from llamastack.egress import Egress
from llamastack.errors import StackError, UpstreamError
from llamastack.providers import ProviderUnavailable

METADATA_HOST = "metadata.google.internal"
OAUTH_URL = "https://oauth2.googleapis.com"
UNTOLD_SECONDS = 3600.0  # how long a token holds whose end is not told, as Google's do
REMEDY = "Install requirements/google.txt, or give the provider an access_token."
WHOLE = {"scopes": ["https://www.googleapis.com/auth/cloud-platform"]}
# google-auth's classes by the type that a key file tells, each with what makes it of the file's content. A user's own
# token is for what the user has allowed, and takes no scopes.
KINDS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "service_account": ("google.oauth2.service_account", "from_service_account_info", WHOLE),
    "authorized_user": ("google.oauth2.credentials", "from_authorized_user_info", {}),
    "external_account": ("google.auth.identity_pool", "from_info", WHOLE),
    "external_account_authorized_user": ("google.auth.external_account_authorized_user", "from_info", {}),
    "impersonated_service_account": (
        "google.auth.impersonated_credentials",
        "from_impersonated_service_account_info",
        WHOLE,
    ),
}
AWS_TOKENS = "urn:ietf:params:aws:token-type:aws4_request"


class FromKeyFile:
    """Renews the credentials of a key file in a thread, since google-auth waits for its answers there."""

    def __init__(self, egress: Egress, credentials: Any) -> None:
        self.egress, self.credentials = egress, credentials

    async def issue(self) -> Any:
        from google.auth.exceptions import GoogleAuthError  # here, since the package is an optional one

        try:
            await asyncio.to_thread(self.credentials.refresh, Bridge(self.egress, asyncio.get_running_loop()))
        except GoogleAuthError as error:
            raise UpstreamError(f"{error.args[0] if error.args else error}".rstrip(".") + ".") from error
        except (TypeError, ValueError, LookupError, AttributeError) as error:  # what it makes of nonsense
            raise UpstreamError(f"the token server's answer cannot be read ({type(error).__name__}).") from error
        return {"access_token": self.credentials.token, "expires_in": self._seconds()}

    def _seconds(self) -> float:
        ends: datetime | None = self.credentials.expiry  # in UTC, which it does not say
        return UNTOLD_SECONDS if ends is None else (ends.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()


class FromMetadataServer:
    """The account of the machine, on Google Cloud."""

    def __init__(self, egress: Egress) -> None:
        self.egress = egress

    async def issue(self) -> Any:
        path = "computeMetadata/v1/instance/service-accounts/default/token"
        try:
            return await self.egress.get(path, {"Metadata-Flavor": "Google"})
        except StackError as error:
            raise ProviderUnavailable(
                "There are no Google credentials: set GOOGLE_APPLICATION_CREDENTIALS to a key file, run "
                "'gcloud auth application-default login', or give the provider an access_token. The metadata server, "
                f"which machines on Google Cloud have, does not help: {error.message}"
            ) from error


def default_credentials(reaching: Callable[[str], Egress], environment: Mapping[str, str] = os.environ) -> Credentials:
    """Those of the environment. Raises ProviderUnavailable where there is a key file that cannot be used."""
    named = environment.get("GOOGLE_APPLICATION_CREDENTIALS")
    folder = Path(environment.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud")
    path = Path(named) if named else folder / "application_default_credentials.json"
    if not named and not path.is_file():
        return FromMetadataServer(reaching(f"http://{environment.get('GCE_METADATA_HOST') or METADATA_HOST}"))
    return FromKeyFile(reaching(OAUTH_URL), _made(path))


def _made(path: Path) -> Any:
    """A key file as google-auth's credentials for the whole of Google Cloud."""
    content = _read(path)
    if content.get("type") not in KINDS:
        known = ", ".join(KINDS)
        raise ProviderUnavailable(f"The Google credentials at {path} have none of the types {known}.")
    module, maker, scopes = KINDS[content["type"]]
    source = content.get("credential_source")
    if content.get("subject_token_type") == AWS_TOKENS:
        module = "google.auth.aws"
    elif isinstance(source, dict) and source.get("executable") is not None:
        module = "google.auth.pluggable"
    try:
        from google.auth.exceptions import GoogleAuthError

        return getattr(importlib.import_module(module).Credentials, maker)(content, **scopes)
    except ImportError as error:
        raise ProviderUnavailable(f"The Google credentials at {path} need the package google-auth. {REMEDY}") from error
    except (GoogleAuthError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ProviderUnavailable(
            f"The Google credentials at {path} cannot be used ({type(error).__name__}): write them anew with "
            "'gcloud auth application-default login', or fetch the account's key file again."
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = orjson.loads(path.read_bytes())
    except OSError as error:
        raise ProviderUnavailable(f"The Google credentials at {path} cannot be read: {error.strerror}.") from error
    except orjson.JSONDecodeError as error:
        raise ProviderUnavailable(f"The Google credentials at {path} are no JSON.") from error
    if not isinstance(content, dict):
        raise ProviderUnavailable(f"The Google credentials at {path} are no JSON object.")
    return content
