"""A server of text-generation-inference."""

from typing import Any

import pytest

from apps.inference.providers.remote.tgi import TGI, TGIConfig
from llamastack.errors import NotSupported, UnsupportedParameter, UpstreamError
from tests.unit.inference.scripted import CALL, Line, Stream, chat, chunk, embedding, heard, said, scripted, started

CHAT = "POST /v1/chat/completions"
INFO = {"model_id": "teknium/OpenHermes", "max_input_tokens": 4095, "max_total_tokens": 4096, "version": "3.3.6"}


@pytest.mark.parametrize(("name", "tail"), [("url", ""), ("base_url", "/v1"), ("base_url", "/v1/")])
async def test_its_one_model_and_its_length_come_from_info(name: str, tail: str) -> None:
    async with scripted({"GET /info": INFO}) as vendor:
        config = TGIConfig.model_validate({name: vendor.url + tail, "auth_credential": "token"})
        async with started(TGI("tgi", config)) as provider:
            [model] = await provider.get_models(CALL)
            assert (await provider.health()).message == "1 model"
    assert (model.provider_model_id, model.metadata) == ("teknium/OpenHermes", {"context_length": 4096})
    assert vendor.asked[0].headers["Authorization"] == "Bearer token"


@pytest.mark.parametrize("info", [[], {"model": "x"}, {"model_id": 7}])
async def test_an_info_that_names_no_model_is_a_bad_gateway(info: object) -> None:
    async with scripted({"GET /info": info}) as vendor, started(tgi(vendor.url)) as provider:
        with pytest.raises(UpstreamError, match="names no model"):
            await provider.get_models(CALL)


def tgi(url: str, **config: Any) -> TGI:
    return TGI("tgi", TGIConfig(base_url=url, **config))


async def test_what_it_reads_otherwise_is_sent_as_it_reads_it() -> None:
    async with scripted({CHAT: said()}) as vendor, started(tgi(vendor.url)) as provider:
        await provider.post_chat_completion(CALL, chat(max_completion_tokens=7, stop="x", top_p=1.0, seed=3))
        await provider.post_chat_completion(CALL, chat(max_tokens=8, stop=["x", "y"], top_p=0.5))
    first, second = (asked.body for asked in vendor.asked)
    assert (first["max_tokens"], first["stop"], first["seed"]) == (7, ["x"], 3)
    assert not first.keys() & {"max_completion_tokens", "top_p"}
    assert (second["max_tokens"], second["stop"], second["top_p"]) == (8, ["x", "y"], 0.5)


@pytest.mark.parametrize("field", [{"n": 2}, {"logit_bias": {"5": 1.0}}, {"parallel_tool_calls": False}])
async def test_what_it_ignores_is_refused(field: dict[str, Any]) -> None:
    async with scripted({CHAT: said()}) as vendor, started(tgi(vendor.url)) as provider:
        with pytest.raises(UnsupportedParameter):
            await provider.post_chat_completion(CALL, chat(**field))
    assert vendor.asked == []


@pytest.mark.parametrize("reason", ["stop_sequence", "eos_token", "stop"])
async def test_its_words_for_an_end_are_openais(reason: str) -> None:
    choice = said()["choices"][0] | {"finish_reason": reason}
    script: dict[str, Line] = {CHAT: said(id="", choices=[choice])}
    async with scripted(script) as vendor, started(tgi(vendor.url)) as provider:
        reply = await provider.post_chat_completion(CALL, chat())
        script[CHAT] = Stream([chunk("Blue."), chunk("", finish=reason)])
        assert await heard(await provider.post_chat_completion(CALL, chat(stream=True))) == "Blue."
    assert reply.choices[0].finish_reason == "stop"


async def test_arguments_in_an_object_are_its_text() -> None:
    function = {"description": None, "name": "weather", "arguments": {"city": "Paris"}}
    message = {"role": "assistant", "tool_calls": [{"id": "0", "type": "function", "function": function}]}
    async with scripted({CHAT: said(choices=[{"index": 0, "message": message, "finish_reason": "stop"}])}) as vendor:
        async with started(tgi(vendor.url)) as provider:
            reply = await provider.post_chat_completion(CALL, chat())
    [call] = reply.choices[0].message.tool_calls or []
    assert call.function.arguments == '{"city":"Paris"}'


async def test_it_has_no_embeddings() -> None:
    with pytest.raises(NotSupported):
        await tgi("http://127.0.0.1:1").post_embedding(CALL, embedding())
