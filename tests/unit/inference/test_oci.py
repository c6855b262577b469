"""Oracle's OCI Generative AI: how requests are signed, and what is asked where."""

import asyncio
import base64
import hashlib
import re
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from apps.inference.providers.remote.oci import OCI
from apps.inference.providers.remote.oci.provider import OCIConfig
from apps.inference.providers.remote.oci.signing import Signatures
from apps.inference.schemas import CompletionRequest, RerankRequest
from llamastack.egress import Egress
from llamastack.egress.transport import Outgoing
from llamastack.errors import NotSupported, UnsupportedParameter, UpstreamError, UpstreamRejected
from llamastack.providers import ProviderUnavailable
from tests.unit.inference.scripted import (
    CALL,
    Asked,
    Line,
    Status,
    Stream,
    Vendor,
    chat,
    chunk,
    embedding,
    heard,
    rerouted,
    said,
    scripted,
    started,
)

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
COMPARTMENT = "ocid1.compartment.oc1..aaaa"
HOST = "/inference.generativeai.us-ashburn-1.oci.oraclecloud.com"
CHAT = f"POST {HOST}/openai/v1/chat/completions"
EMBED, RERANK = f"POST {HOST}/20231130/actions/embedText", f"POST {HOST}/20231130/actions/rerankText"
LISTED = f"compartmentId={COMPARTMENT}&lifecycleState=ACTIVE&limit=100"
LISTS = "GET /generativeai.us-ashburn-1.oci.oraclecloud.com/20231130"
MODELS, ENDPOINTS = f"{LISTS}/models?{LISTED}", f"{LISTS}/endpoints?{LISTED}"
DEDICATED = "ocid1.generativeaiendpoint.oc1.iad.bbbb"


class OnPaper(OCI):
    vendor: Vendor

    def new_egress(self, base_url: str, headers: Mapping[str, str] | None = None) -> Egress:
        """Signed as it would be sent, and then led to the script."""
        egress = super().new_egress(base_url, headers)
        live: Any = egress.transport
        if self.signer() is None:
            return rerouted(egress, self.vendor)
        live.live = rerouted(Egress(base_url, "x"), self.vendor).transport
        return egress


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """As `oci setup config` writes it."""
    (tmp_path / "key.pem").write_text(PEM)
    fingerprint = "20:3b:97:13:55:1c:5b:0d:d3:37:d8:50:4e:c5:3a:34"
    lines = ["[DEFAULT]", "user=ocid1.user.oc1..u", f"fingerprint={fingerprint}", "tenancy=ocid1.tenancy.oc1..t"]
    path = tmp_path / "config"
    path.write_text("\n".join([*lines, "region=us-ashburn-1", f"key_file={tmp_path / 'key.pem'}", ""]))
    path.chmod(0o600)
    return path


def on_paper(vendor: Vendor, profile: Path | None = None, **config: Any) -> OnPaper:
    file = {} if profile is None else {"oci_auth_type": "config_file", "oci_config_file_path": str(profile)}
    whole = {"oci_compartment_id": COMPARTMENT, **file, **config}
    provider = OnPaper("oci", OCIConfig.model_validate(whole))
    provider.vendor = vendor
    return provider


def checked(asked: Asked, body: bytes | None) -> str:
    """The id of the key that signed a request as Oracle verifies it: the headers that the signature names, in order."""
    said = dict(re.findall(r'(\w+)="([^"]*)"', asked.headers["Authorization"]))
    method, _, rest = asked.line.partition(" ")
    host, _, path = rest.removeprefix("/").partition("/")
    known = {"(request-target)": f"{method.lower()} /{path}", "host": host, "date": asked.headers["Date"]}
    if body is not None:
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        assert asked.headers["x-content-sha256"] == digest
        known |= {"content-length": str(len(body)), "content-type": "application/json", "x-content-sha256": digest}
    assert set(said["headers"].split()) == known.keys()
    text = "\n".join(f"{name}: {known[name]}" for name in said["headers"].split())
    KEY.public_key().verify(base64.b64decode(said["signature"]), text.encode(), PKCS1v15(), SHA256())
    assert asked.headers.getall("Content-Type", ["application/json"]) == ["application/json"]  # type: ignore[attr-defined]
    return said["keyId"]


async def test_a_chat_is_signed_with_the_profiles_key(profile: Path) -> None:
    script: dict[str, Line] = {CHAT: said(), MODELS: {"items": []}, ENDPOINTS: {"items": []}}
    async with scripted(script) as vendor, started(on_paper(vendor, profile)) as provider:
        reply = await provider.post_chat_completion(CALL, chat(temperature=0.5))
        assert await provider.get_models(CALL) == []
    assert reply.choices[0].message.content == "Blue."
    sent, listed, _ = vendor.asked
    body = b'{"model":"sky","temperature":0.5,"messages":[{"role":"user","content":"Hi"}]}'
    whose = "ocid1.tenancy.oc1..t/ocid1.user.oc1..u/20:3b:97:13:55:1c:5b:0d:d3:37:d8:50:4e:c5:3a:34"
    assert checked(sent, body) == checked(listed, None) == whose
    assert sent.headers["CompartmentId"] == sent.headers["opc-compartment-id"] == COMPARTMENT


async def test_a_stream_ends_with_its_choices(profile: Path) -> None:
    script: dict[str, Line] = {CHAT: Stream([chunk("Blue."), chunk(finish="stop")], done=False)}
    async with scripted(script) as vendor, started(on_paper(vendor, profile)) as provider:
        assert await heard(await provider.post_chat_completion(CALL, chat(stream=True))) == "Blue."
        script[CHAT] = Stream([chunk("Bl")])
        with pytest.raises(UpstreamError, match="ended before the answer did"):
            await heard(await provider.post_chat_completion(CALL, chat(stream=True)))


async def test_a_sessions_token_is_read_anew_when_it_has_been_refreshed(profile: Path) -> None:
    token = profile.with_name("token")
    token.write_text("eyJ1\n")
    profile.write_text(profile.read_text() + f"security_token_file={token}\n")
    async with scripted({CHAT: said()}) as vendor, started(on_paper(vendor, profile)) as provider:
        await provider.post_chat_completion(CALL, chat())
        token.write_text("eyJ2\n")
        await provider.post_chat_completion(CALL, chat())
    body = b'{"model":"sky","messages":[{"role":"user","content":"Hi"}]}'
    assert [checked(asked, body) for asked in vendor.asked] == ["ST$eyJ1", "ST$eyJ2"]


async def test_an_api_key_goes_in_place_of_signatures() -> None:
    async with scripted({CHAT: said()}) as vendor, started(on_paper(vendor, api_key="sk-oci")) as provider:
        await provider.post_chat_completion(CALL, chat())
    assert vendor.asked[0].headers["Authorization"] == "Bearer sk-oci"


async def test_a_dedicated_endpoint_answers_below_its_own_address(profile: Path) -> None:
    text = {"id": "1", "object": "text_completion", "created": 1, "model": "x"}
    choices = [{"index": 0, "text": "blue", "finish_reason": "stop"}]
    below = f"POST {HOST}/{DEDICATED}/v1"
    script = {f"{below}/chat/completions": said(), f"{below}/completions": text | {"choices": choices}}
    prompt = CompletionRequest(model=DEDICATED, prompt="The sky is ")
    async with scripted(script) as vendor, started(on_paper(vendor, profile)) as provider:
        await provider.post_chat_completion(CALL, chat(model=DEDICATED))
        assert (await provider.post_completion(CALL, prompt)).choices[0].text == "blue"
        with pytest.raises(NotSupported, match="send a chat completion"):
            await provider.post_completion(CALL, prompt.model_copy(update={"model": "sky"}))


async def test_texts_are_embedded_by_oracles_own_api_no_more_at_once_than_it_takes(profile: Path) -> None:
    async def embedded(asked: Asked) -> Any:
        vectors = [[float(text)] for text in asked.body["inputs"]]
        return {"embeddings": vectors, "usage": {"promptTokens": len(vectors), "totalTokens": len(vectors)}}

    asked = embedding(input=[str(number) for number in range(100)], dimensions=256, input_type="SEARCH_QUERY")
    async with scripted({EMBED: embedded}) as vendor, started(on_paper(vendor, profile)) as provider:
        reply = await provider.post_embedding(CALL, asked)
        with pytest.raises(UnsupportedParameter, match="mood"):
            await provider.post_embedding(CALL, embedding(user="me", mood="bright"))
    assert [one.embedding for one in reply.data] == [[float(number)] for number in range(100)]
    assert reply.usage.prompt_tokens == 100
    first, second = (one.body for one in vendor.asked)
    assert (len(first.pop("inputs")), second.pop("inputs")) == (96, ["96", "97", "98", "99"])
    assert first == second
    assert first == {
        "compartmentId": COMPARTMENT,
        "servingMode": {"servingType": "ON_DEMAND", "modelId": "sky"},
        "outputDimensions": 256,
        "inputType": "SEARCH_QUERY",
    }


async def test_items_are_ranked_by_oracles_own_api(profile: Path) -> None:
    ranks = [{"index": 1, "relevanceScore": 0.75}, {"index": 0, "relevanceScore": 0.25}]
    asked = {"model": DEDICATED, "query": "sky", "items": ["cats", "blue"], "max_num_results": 9}
    async with scripted({RERANK: {"documentRanks": ranks}}) as vendor, started(on_paper(vendor, profile)) as provider:
        reply = await provider.rerank(CALL, RerankRequest.model_validate(asked))
    assert [(one.index, one.relevance_score) for one in reply.data] == [(1, 0.75), (0, 0.25)]
    assert vendor.asked[0].body == {
        "compartmentId": COMPARTMENT,
        "servingMode": {"servingType": "DEDICATED", "endpointId": DEDICATED},
        "input": "sky",
        "documents": ["cats", "blue"],
        "topN": 2,
    }


@pytest.mark.parametrize("answer", [{}, [], {"embeddings": "x", "documentRanks": {}}, {"documentRanks": [1]}])
async def test_an_answer_of_its_own_that_is_none_is_a_bad_gateway(profile: Path, answer: Any) -> None:
    items = RerankRequest.model_validate({"model": "sky", "query": "a", "items": ["b"]})
    async with scripted({EMBED: answer, RERANK: answer}) as vendor:
        async with started(on_paper(vendor, profile)) as provider:
            with pytest.raises(UpstreamError, match="'oci'"):
                await provider.post_embedding(CALL, embedding())
            with pytest.raises(UpstreamError, match="'oci'"):
                await provider.rerank(CALL, items)


def model(name: str, *capabilities: str, **more: Any) -> dict[str, Any]:
    return {"id": "ocid1.generativeaimodel.oc1..x", "displayName": name, "capabilities": list(capabilities), **more}


async def test_models_are_listed_page_by_page_and_dedicated_endpoints_with_them(profile: Path) -> None:
    first = [
        model("meta.llama-3.3", "CHAT"),
        model("meta.llama-3.3", "CHAT", "FINE_TUNE"),
        model("meta.llama-3.3", "CHAT"),
        model("gone", "CHAT", timeOnDemandRetired="2024-01-01T00:00:00.000Z"),
        model("going", "CHAT", timeOnDemandRetired="9999-01-01T00:00:00.000Z"),
    ]
    second = [
        model("cohere.embed-v4.0", "TEXT_EMBEDDINGS"),
        model("rerank", "TEXT_RERANK"),
        model("tts", "TEXT_TO_AUDIO"),
    ]
    script: dict[str, Line] = {
        MODELS: Status(200, {"items": first}, {"opc-next-page": "a+b="}),
        f"{MODELS}&page=a%2Bb%3D": {"items": second},
        ENDPOINTS: {"items": [{"id": DEDICATED, "displayName": "mine"}]},
    }
    async with scripted(script) as vendor, started(on_paper(vendor, profile)) as provider:
        models = await provider.get_models(CALL)
        script[ENDPOINTS] = Status(404, {"code": "NotAuthorizedOrNotFound", "message": "Authorization failed"})
        assert (await provider.health()).message == "5 models"
        script[MODELS] = {"items": [1]}
        with pytest.raises(UpstreamError, match="listed its models as something"):
            await provider.get_models(CALL)
    assert [(one.provider_model_id, one.model_type) for one in models] == [
        ("meta.llama-3.3", "llm"),
        ("going", "llm"),
        ("cohere.embed-v4.0", "embedding"),
        ("rerank", "rerank"),
        (DEDICATED, "llm"),
    ]


async def test_an_error_of_oracles_keeps_its_code(profile: Path) -> None:
    error = {"code": "NotAuthorizedOrNotFound", "message": "Authorization failed or requested resource not found."}
    async with scripted({CHAT: Status(404, error)}) as vendor, started(on_paper(vendor, profile)) as provider:
        with pytest.raises(UpstreamRejected, match="Authorization failed") as refused:
            await provider.post_chat_completion(CALL, chat())
    assert (refused.value.status, refused.value.code) == (404, "NotAuthorizedOrNotFound")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("[DEFAULT]", "[OTHER]"), "'user': 'missing'"),
        (("user=", "name="), "missing"),
        (("key.pem", "none.pem"), "No such file|InvalidKeyFilePath"),
    ],
)
async def test_a_profile_that_cannot_sign_says_what_to_check(profile: Path, change: tuple[str, str], why: str) -> None:
    profile.write_text(profile.read_text().replace(*change))
    async with scripted({CHAT: said()}) as vendor, started(on_paper(vendor, profile)) as provider:
        with pytest.raises(ProviderUnavailable, match=why) as told:
            await provider.post_chat_completion(CALL, chat())
        assert not (await provider.health()).ok
    assert "oci_config_file_path" in told.value.message
    assert vendor.asked == []


async def test_a_broken_config_file_is_told_without_its_lines(profile: Path) -> None:
    profile.write_text(profile.read_text() + "pass_phrase canary-of-the-key\n")
    async with scripted({CHAT: said()}) as vendor, started(on_paper(vendor, profile)) as provider:
        with pytest.raises(ProviderUnavailable, match="ParsingError") as told:
            await provider.post_chat_completion(CALL, chat())
        health = await provider.health()
    assert not [said for said in (told.value.message, health.message) if "canary" in said]


async def test_a_signer_is_made_once_for_all_who_wait_and_anew_after_a_failure() -> None:
    made, may = [0], threading.Event()

    class Signer:
        def __call__(self, request: Any) -> None:
            request.headers |= {"authorization": "Signature", "date": "now"}

    def make() -> Signer:
        made[0] += 1
        may.wait(60)
        if made[0] == 1:
            raise OSError("the metadata server is not there")
        return Signer()

    signatures = Signatures(make, "Do this.")
    outgoing = Outgoing("GET", "https://x/y")
    waiting = [asyncio.create_task(signatures(outgoing)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting.pop().cancel()
    may.set()
    for each in waiting:
        with pytest.raises(ProviderUnavailable, match=r"the metadata server is not there Do this\."):
            await each
    assert made == [1]
    assert await signatures(outgoing) == {"authorization": "Signature", "date": "now"}
    assert made == [2]


async def test_without_oracles_package_it_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "oci.auth.signers", None)
    with pytest.raises(ImportError, match="oci"):
        await OCI("oci", OCIConfig(oci_compartment_id=COMPARTMENT)).start()


async def test_without_a_compartment_it_does_not_start() -> None:
    with pytest.raises(ProviderUnavailable, match="oci_compartment_id"):
        await OCI("oci", OCIConfig()).start()


@pytest.mark.parametrize(
    ("url", "lists"),
    [
        ("https://inference.generativeai.us-langley-1.oci.oraclegovcloud.com/", "https://generativeai.us-langley-1."),
        ("http://127.0.0.1:8080/oci", "http://127.0.0.1:8080/oci"),
    ],
)
def test_another_realms_address_leads_to_its_lists_too(url: str, lists: str) -> None:
    assert OCI("oci", OCIConfig(base_url=url)).management.startswith(lists)


@pytest.mark.parametrize(
    ("config", "why"), [({"oci_region": "a.b/"}, "oci_region"), ({"oci_auth_type": "user"}, "oci_auth_type")]
)
def test_a_config_that_cannot_work_says_why(config: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        OCIConfig.model_validate(config)
