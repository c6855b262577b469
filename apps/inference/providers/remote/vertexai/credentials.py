"""Google Cloud's Application Default Credentials, each as what issues access tokens.

Where they are looked for: https://cloud.google.com/docs/authentication/application-default-credentials
A service account's key: https://developers.google.com/identity/protocols/oauth2/service-account#httprest
A user's refresh token: https://developers.google.com/identity/protocols/oauth2/web-server#offline
The metadata server: https://cloud.google.com/compute/docs/access/authenticate-workloads#applications
"""

import base64
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import orjson
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from apps.inference.providers.remote.tokens import FORM, Credentials
from llamastack.egress import Egress
from llamastack.errors import StackError
from llamastack.providers import ProviderUnavailable

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
METADATA_HOST = "metadata.google.internal"
OAUTH_URL = "https://oauth2.googleapis.com/token"
SKEW = 60  # seconds that this machine's clock may be ahead of Google's
HOUR = 3600


class ServiceAccount(BaseModel):
    """A service account's key file."""

    type: Literal["service_account"]
    client_email: str
    private_key: SecretStr
    private_key_id: str | None = None
    token_uri: str = OAUTH_URL

    def assertion(self, now: float) -> bytes:
        """The signed claim to be this account. Dated back, since one from the future is refused."""
        issued = int(now) - SKEW
        header = {"alg": "RS256", "typ": "JWT"} | ({"kid": self.private_key_id} if self.private_key_id else {})
        claims = {"iss": self.client_email, "scope": SCOPE, "aud": self.token_uri, "iat": issued, "exp": issued + HOUR}
        signed = _encoded(orjson.dumps(header)) + b"." + _encoded(orjson.dumps(claims))
        return signed + b"." + _encoded(self._key().sign(signed, PKCS1v15(), SHA256()))

    def _key(self) -> RSAPrivateKey:
        try:
            key = load_pem_private_key(self.private_key.get_secret_value().encode(), None)
        except (ValueError, TypeError) as error:
            raise ProviderUnavailable(f"The private key of '{self.client_email}' cannot be read.") from error
        if not isinstance(key, RSAPrivateKey):
            raise ProviderUnavailable(f"The private key of '{self.client_email}' is no RSA key.")
        return key


class AuthorizedUser(BaseModel):
    """What `gcloud auth application-default login` writes."""

    type: Literal["authorized_user"]
    client_id: str
    client_secret: SecretStr
    refresh_token: SecretStr
    token_uri: str = OAUTH_URL


KeyFile = ServiceAccount | AuthorizedUser
KEY_FILE: TypeAdapter[KeyFile] = TypeAdapter(KeyFile)


class FromServiceAccount:
    def __init__(self, egress: Egress, account: ServiceAccount) -> None:
        self.egress, self.account = egress, account

    async def issue(self) -> Any:
        grant = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}
        form = grant | {"assertion": self.account.assertion(time.time()).decode()}
        return await self.egress.post(self.account.token_uri, urlencode(form).encode(), FORM)


class FromUser:
    def __init__(self, egress: Egress, user: AuthorizedUser) -> None:
        self.egress, self.user = egress, user

    async def issue(self) -> Any:
        form = {
            "grant_type": "refresh_token",
            "client_id": self.user.client_id,
            "client_secret": self.user.client_secret.get_secret_value(),
            "refresh_token": self.user.refresh_token.get_secret_value(),
        }
        return await self.egress.post(self.user.token_uri, urlencode(form).encode(), FORM)


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
    key_file = _read(path)
    egress = reaching(key_file.token_uri)
    return FromUser(egress, key_file) if isinstance(key_file, AuthorizedUser) else FromServiceAccount(egress, key_file)


def _read(path: Path) -> KeyFile:
    try:
        return KEY_FILE.validate_json(path.read_bytes())
    except OSError as error:
        raise ProviderUnavailable(f"The Google credentials at {path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        raise ProviderUnavailable(
            f"The Google credentials at {path} are neither a service account's key nor those of "
            "'gcloud auth application-default login'."
        ) from error


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
