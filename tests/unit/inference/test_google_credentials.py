"""Access tokens of Google Cloud: where they come from."""

import base64
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from apps.inference.providers.remote.tokens import Tokens
from apps.inference.providers.remote.vertexai.credentials import default_credentials
from llamastack.egress import Egress
from llamastack.errors import UpstreamError
from llamastack.providers import ProviderUnavailable
from tests.unit.inference.scripted import Asked, Line, Status, Vendor, rerouted, scripted

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
TOKEN = {"access_token": "ya29.one", "expires_in": 3599, "token_type": "Bearer"}
USER = {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "1//r"}
OAUTH = "POST /oauth2.googleapis.com/token"
METADATA = "GET /computeMetadata/v1/instance/service-accounts/default/token"


def pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def service_account(url: str, **fields: Any) -> dict[str, Any]:
    """As https://developers.google.com/identity/protocols/oauth2/service-account has it."""
    account = {"type": "service_account", "client_email": "sky@x.iam.gserviceaccount.com", "private_key": pem(KEY)}
    return account | {"private_key_id": "k1", "project_id": "x", "token_uri": f"{url}/token", **fields}


def written(folder: Path, content: dict[str, Any]) -> dict[str, str]:
    """The environment that names a key file of this content."""
    path = folder / "key.json"
    path.write_bytes(orjson.dumps(content))
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(path)}


async def token(environment: dict[str, str], server: Vendor | None = None) -> str:
    """Where a server is given, every host is one of its paths."""
    ways: list[Egress] = []

    def reaching(url: str) -> Egress:
        way = Egress(url, "Provider 'vertexai'")
        ways.append(way if server is None else rerouted(way, server))
        return way

    try:
        return await Tokens(default_credentials(reaching, environment)).current()
    finally:
        for way in ways:
            await way.close()


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def test_a_service_account_signs_for_its_token(tmp_path: Path) -> None:
    async def issue(asked: Asked) -> Any:
        form = parse_qs(asked.body)
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        signed, _, signature = form["assertion"][0].rpartition(".")
        KEY.public_key().verify(decoded(signature), signed.encode(), PKCS1v15(), SHA256())
        header, claims = (orjson.loads(decoded(part)) for part in signed.split("."))
        assert header == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
        assert claims["iss"] == "sky@x.iam.gserviceaccount.com"
        assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
        assert claims["exp"] - claims["iat"] <= 3600
        assert claims["iat"] <= time.time() < claims["exp"]
        assert claims["aud"].endswith("/token")
        return TOKEN

    async with scripted({"POST /token": issue}) as server:
        assert await token(written(tmp_path, service_account(server.url))) == "ya29.one"
    assert server.asked[0].headers["Content-Type"] == "application/x-www-form-urlencoded"


async def test_a_user_refreshes_a_token(tmp_path: Path) -> None:
    async with scripted({OAUTH: TOKEN}) as server:
        assert await token(written(tmp_path, USER), server) == "ya29.one"
    form = {"grant_type": ["refresh_token"], "client_id": ["c"], "client_secret": ["s"], "refresh_token": ["1//r"]}
    assert parse_qs(server.asked[0].body) == form


async def test_a_user_speaks_for_an_account_that_it_may_impersonate(tmp_path: Path) -> None:
    path = "/v1/projects/-/serviceAccounts/sky@x.iam.gserviceaccount.com:generateAccessToken"
    content = {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": f"https://iamcredentials.googleapis.com{path}",
        "source_credentials": USER,
    }
    answer = {
        "accessToken": "ya29.theirs",
        "expireTime": f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
    }
    script: dict[str, Line] = {OAUTH: TOKEN, f"POST /iamcredentials.googleapis.com{path}": answer}
    async with scripted(script) as server:
        assert await token(written(tmp_path, content), server) == "ya29.theirs"
    assert server.asked[1].headers["Authorization"] == "Bearer ya29.one"


async def test_the_token_of_another_cloud_is_exchanged_for_one_of_googles(tmp_path: Path) -> None:
    (tmp_path / "subject").write_text("of-the-cluster")
    content = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": str(tmp_path / "subject")},
    }
    async with scripted({"POST /sts.googleapis.com/v1/token": TOKEN}) as server:
        assert await token(written(tmp_path, content), server) == "ya29.one"
    form = parse_qs(server.asked[0].body)
    assert form["subject_token"] == ["of-the-cluster"]
    assert form["scope"] == ["https://www.googleapis.com/auth/cloud-platform"]


async def test_what_gcloud_left_is_found_in_its_folder(tmp_path: Path) -> None:
    async with scripted({"POST /token": TOKEN}) as server:
        path = tmp_path / "application_default_credentials.json"
        path.write_bytes(orjson.dumps(service_account(server.url)))
        assert await token({"CLOUDSDK_CONFIG": str(tmp_path)}) == "ya29.one"


async def test_a_machine_of_google_cloud_asks_its_metadata_server(tmp_path: Path) -> None:
    async with scripted({METADATA: TOKEN}) as server:
        environment = {"CLOUDSDK_CONFIG": str(tmp_path), "GCE_METADATA_HOST": server.url.removeprefix("http://")}
        assert await token(environment) == "ya29.one"
    assert server.asked[0].headers["Metadata-Flavor"] == "Google"


async def test_without_any_credentials_what_to_do_is_told(tmp_path: Path) -> None:
    environment = {"CLOUDSDK_CONFIG": str(tmp_path), "GCE_METADATA_HOST": "127.0.0.1:9"}
    with pytest.raises(ProviderUnavailable, match="set GOOGLE_APPLICATION_CREDENTIALS"):
        await token(environment)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"type": "who_knows"}, "none of the types service_account, authorized_user"),
        ({"type": "external_account"}, r"cannot be used \("),
        ({"type": "service_account"}, r"cannot be used \(MalformedError\)"),
        ({"private_key": "-----BEGIN"}, r"cannot be used \("),
    ],
)
async def test_a_key_file_that_is_of_no_use_is_told(tmp_path: Path, content: dict[str, Any], why: str) -> None:
    whole = content if "type" in content else service_account("http://127.0.0.1:9", **content)
    with pytest.raises(ProviderUnavailable, match=why) as told:
        await token(written(tmp_path, whole))
    assert "BEGIN" not in told.value.message


@pytest.mark.parametrize(("text", "why"), [(b"{", "are no JSON"), (b"[]", "are no JSON object")])
async def test_a_key_file_that_is_no_json_is_told(tmp_path: Path, text: bytes, why: str) -> None:
    (tmp_path / "key.json").write_bytes(text)
    with pytest.raises(ProviderUnavailable, match=why):
        await token({"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json")})


async def test_a_key_file_without_google_auth_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "google.auth.exceptions", None)
    with pytest.raises(ProviderUnavailable, match=r"google-auth\. Install requirements/google\.txt, or give"):
        await token(written(tmp_path, USER))


async def test_a_key_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProviderUnavailable, match="cannot be read: No such file"):
        await token({"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "none.json")})


@pytest.mark.parametrize(
    "answer",
    [
        Status(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}),
        Status(404),
        {"error": "x"},
        {"access_token": "", "expires_in": 3599},
        {"access_token": "x", "expires_in": -1},
        [],
    ],
)
async def test_a_token_that_is_not_issued_is_never_the_callers_fault(tmp_path: Path, answer: Line) -> None:
    async with scripted({"POST /token": answer}) as server:
        with pytest.raises(UpstreamError, match="No access token was issued") as told:
            await token(written(tmp_path, service_account(server.url)))
    assert told.value.status == 502
