"""AWS credentials and signatures: what botocore signs is what is sent, and credentials are renewed by one caller."""

import asyncio
import datetime
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.credentials import Credentials as Keys
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import CredentialRetrievalError
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st

from apps.inference.providers.remote.bedrock import Bedrock
from apps.inference.providers.remote.bedrock.answer import Converse
from apps.inference.providers.remote.bedrock.config import BedrockConfig
from apps.inference.providers.remote.bedrock.credentials import searching
from llamastack.egress import Egress
from llamastack.egress.aws import Credentials, Signer, signature
from llamastack.egress.transport import Outgoing
from llamastack.errors import AuthenticationError, UpstreamError
from llamastack.providers import ProviderUnavailable
from tests.bedrock import operation
from tests.unit.inference.scripted import chat
from tests.upstream import on_loopback

KEYS = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI", "session")
REGION = "us-east-2"
NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE")


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment without credentials, and without a metadata server."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return tmp_path


def found(**config: Any) -> Any:
    return searching(BedrockConfig.model_validate(config))()


def theirs(outgoing: Outgoing, sent: Mapping[str, str]) -> str:
    """The signature of AWS's own client for a request, at the time that ours tells."""
    own = ("Content-Type", "X-Amz-Date", "X-Amz-Security-Token")
    headers = {name: value for name, value in {**outgoing.headers, **sent}.items() if name in own}
    request = AWSRequest(outgoing.method, outgoing.url, headers, outgoing.body)
    request.context["timestamp"] = sent["X-Amz-Date"]
    auth = SigV4Auth(KEYS, operation("Converse").service_model.signing_name, REGION)
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))


MODELS = st.from_regex(r"[a-z]{2,9}\.[a-z0-9-]{1,20}(:[0-9]{1,2})?", fullmatch=True) | st.sampled_from(
    (
        "anthropic.claude-3-5-sonnet-20241022-v2:0",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0",
        "arn:aws:sagemaker:us-east-1:123456789012:endpoint/a b~c",
    )
)


@given(MODELS, st.binary(max_size=200))
def test_a_signature_is_that_of_awss_own_client(model: str, body: bytes) -> None:
    path = Converse(chat(model=model), "b", BedrockConfig()).path
    headers = {"Content-Type": "application/json", "X-Team": "blue"}
    outgoing = Outgoing("POST", f"https://bedrock-runtime.{REGION}.amazonaws.com/{path}", headers, body)
    sent = signature(outgoing, KEYS, "bedrock", REGION)
    assert sent["Authorization"].endswith(f"Signature={theirs(outgoing, sent)}")
    assert f"/{REGION}/bedrock/aws4_request" in sent["Authorization"]
    assert sent.keys() == {"Authorization", "X-Amz-Date", "X-Amz-Security-Token"}


@pytest.mark.parametrize(
    "model", ["anthropic.claude-x-v2:0", "arn:aws:bedrock:us-east-2:123456789012:prompt/A1b2C3d4E5:1"]
)
def test_an_address_is_that_of_awss_own_client(model: str) -> None:
    sent: list[str] = []

    def instead(request: Any, **_: Any) -> AWSResponse:
        sent.append(request.url)
        raw = type("Raw", (), {"stream": lambda self: [b"{}"]})()
        return AWSResponse(request.url, 200, {"content-type": "application/json"}, raw)

    client = Session().create_client(
        "bedrock-runtime", region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.meta.events.register("before-send.bedrock-runtime.Converse", instead)
    client.converse(modelId=model, messages=[])
    provider = Bedrock("b", BedrockConfig())
    assert sent == [f"{provider.url()}/{Converse(chat(model=model), 'b', BedrockConfig()).path}"]


async def test_what_is_sent_is_what_was_signed() -> None:
    lines: list[tuple[str, Mapping[str, str], bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        lines.append((request.raw_path, dict(request.headers), await request.read()))
        return web.json_response({})

    credentials = Credentials(lambda: KEYS)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with on_loopback(app) as url:
        egress = Egress(url, "Provider 'b'", signer=Signer(credentials, "bedrock", REGION, AssertionError))  # type: ignore[arg-type]
        path = Converse(chat(model="arn:aws:bedrock:a/b.c:0"), "b", BedrockConfig()).path
        await egress.post(path, {"messages": ["ä"]})
        await egress.get("inference-profiles?maxResults=1000&nextToken=a%2Fb%3D%3D")
        await egress.close()
    for (raw, headers, body), method in zip(lines, ("POST", "GET"), strict=True):
        typed = {"Content-Type": headers["Content-Type"]} if body else {}
        outgoing = Outgoing(method, url + raw, typed, body or None)
        assert headers["Authorization"].endswith(f"Signature={theirs(outgoing, headers)}")
    assert lines[0][0] == "/model/arn%3Aaws%3Abedrock%3Aa%2Fb.c%3A0/converse"


async def test_a_request_with_a_key_is_not_signed() -> None:
    def never() -> Any:
        raise AssertionError

    signer = Signer(Credentials(never), "bedrock", REGION, AssertionError)  # type: ignore[arg-type]
    assert await signer(Outgoing("POST", "https://a.example", {"authorization": "Bearer k"})) == {}


async def test_a_long_body_is_signed_too() -> None:
    outgoing = Outgoing("POST", "https://a.example/x", {}, b"x" * 2**19)
    signer = Signer(Credentials(lambda: KEYS), "bedrock", REGION, AssertionError)  # type: ignore[arg-type]
    assert "Authorization" in await signer(outgoing)


async def test_where_there_are_none_they_are_looked_for_again_later_and_not_at_each_call() -> None:
    now, searches = [0.0], []

    def search() -> Any:
        searches.append(now[0])
        return KEYS if len(searches) > 1 else None

    credentials = Credentials(search, lambda: now[0])
    signer = Signer(credentials, "bedrock", REGION, lambda: AuthenticationError("none"))
    assert not credentials.missing
    for _ in range(3):
        with pytest.raises(AuthenticationError):
            await signer(Outgoing("GET", "https://a.example"))
    assert (credentials.missing, searches) == (True, [0.0])
    now[0] = 61.0
    assert "Authorization" in await signer(Outgoing("GET", "https://a.example"))
    assert not credentials.missing


def refreshable(minutes: float, renew: Any) -> RefreshableCredentials:
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
    return RefreshableCredentials("OLD", "secret", "token", end, renew, "test")


def renewed(key: str = "NEW") -> dict[str, str]:
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    return {"access_key": key, "secret_key": "s", "token": "t", "expiry_time": end.isoformat()}


async def test_credentials_that_end_are_renewed_once_for_all_who_wait() -> None:
    renewals: list[int] = []

    def renew() -> dict[str, str]:
        renewals.append(threading.get_ident())
        return renewed()

    credentials = Credentials(lambda: refreshable(1, renew))
    keys = await asyncio.gather(*(credentials.current() for _ in range(8)))
    assert {key.access_key for key in keys} == {"NEW"}
    assert len(renewals) == 1
    assert renewals[0] != threading.get_ident()


async def test_while_they_are_renewed_the_old_ones_serve_as_long_as_they_hold() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def renew() -> dict[str, str]:
        begun.set()
        go_on.wait(10)
        return renewed()

    credentials = Credentials(lambda: refreshable(12, renew))  # botocore renews from 15 minutes before the end
    first = asyncio.create_task(credentials.current())
    await asyncio.to_thread(begun.wait, 10)
    assert (await credentials.current()).access_key == "OLD"
    go_on.set()
    assert (await first).access_key == "NEW"


async def test_credentials_that_are_refused_are_the_upstreams_failure() -> None:
    def renew() -> dict[str, str]:
        raise CredentialRetrievalError(provider="sts", error_msg="The role is not yours.")

    with pytest.raises(UpstreamError, match="The role is not yours"):
        await Credentials(lambda: refreshable(1, renew)).current()


def test_keys_of_the_config_go_before_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert found().access_key == "ENVIRONMENT"
    own = found(aws_access_key_id="CONFIG", aws_secret_access_key="s", aws_session_token="t")
    assert (own.access_key, own.secret_key, own.token) == ("CONFIG", "s", "t")


def test_a_profile_is_read_and_one_that_is_not_there_is_told(nowhere: Path) -> None:
    (nowhere / "credentials").write_text("[work]\naws_access_key_id = WORK\naws_secret_access_key = s\n")
    assert found(profile_name="work").access_key == "WORK"
    with pytest.raises(ProviderUnavailable, match="Set profile_name"):
        found(profile_name="home")


def test_nowhere_there_are_none() -> None:
    assert found() is None
    assert found(aws_role_arn="arn:aws:iam::123456789012:role/r") is None


STS = """<{0}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{0}Result><Credentials>
<AccessKeyId>ASSUMED</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser>
<Arn>arn:aws:sts::123456789012:assumed-role/r/s</Arn><AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser></{0}Result>
</{0}Response>"""


@pytest.fixture
async def token_service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Mapping[str, str]]]:
    """AWS's service of tokens on the loopback, and what it was asked."""
    asked: list[Mapping[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        asked.append(form)
        return web.Response(text=STS.format(form["Action"]), content_type="text/xml")

    app = web.Application()
    app.router.add_post("/", answer)
    async with on_loopback(app) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        yield asked


ROLE: dict[str, Any] = {
    "aws_role_arn": "arn:aws:iam::123456789012:role/r",
    "aws_role_session_name": "stack",
    "session_ttl": 1800,
}


async def test_a_role_is_assumed_with_the_keys_and_as_long_as_it_is_said(
    token_service: list[Mapping[str, str]],
) -> None:
    config = BedrockConfig.model_validate(ROLE | {"aws_access_key_id": "CONFIG", "aws_secret_access_key": "s"})
    current = await Credentials(searching(config)).current()
    assert (current.access_key, current.token) == ("ASSUMED", "t")
    [asked] = token_service
    assert asked["Action"] == "AssumeRole"
    assert (asked["RoleArn"], asked["RoleSessionName"], asked["DurationSeconds"]) == (
        "arn:aws:iam::123456789012:role/r",
        "stack",
        "1800",
    )


async def test_a_role_is_assumed_with_the_token_of_a_file(
    token_service: list[Mapping[str, str]], nowhere: Path
) -> None:
    (nowhere / "token").write_text("of-kubernetes")
    config = BedrockConfig.model_validate(ROLE | {"aws_web_identity_token_file": str(nowhere / "token")})
    assert (await Credentials(searching(config)).current()).access_key == "ASSUMED"
    [asked] = token_service
    assert (asked["Action"], asked["WebIdentityToken"]) == ("AssumeRoleWithWebIdentity", "of-kubernetes")


async def test_a_tokens_file_that_is_not_there_is_told(nowhere: Path) -> None:
    config = BedrockConfig.model_validate(ROLE | {"aws_web_identity_token_file": str(nowhere / "token")})
    with pytest.raises(UpstreamError, match="from a file: No such file"):
        await Credentials(searching(config)).current()


async def test_requests_for_tokens_go_by_the_providers_proxy(
    token_service: list[Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And by none of the environment: a proxy is one that somebody named in the config."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    config = BedrockConfig.model_validate(ROLE | {"aws_access_key_id": "CONFIG", "aws_secret_access_key": "s"})
    assert (await Credentials(searching(config)).current()).access_key == "ASSUMED"
    proxied = {"network": {"proxy": {"url": "http://127.0.0.1:9"}}, "total_max_attempts": 1, "retry_mode": "standard"}
    with pytest.raises(UpstreamError, match="issued no credentials"):
        await Credentials(searching(BedrockConfig.model_validate(config.model_dump() | proxied))).current()
    assert len(token_service) == 1
