"""POST /v1/completions: from the URL to an upstream and back, and on the local engine."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.inference.providers.inline.meta_reference import MetaReference
from apps.inference.providers.inline.meta_reference.config import MetaReferenceConfig
from apps.inference.providers.inline.meta_reference.parameters import honoured
from apps.inference.providers.inline.meta_reference.prompt import echoes, encode_prompts
from apps.inference.providers.inline.meta_reference.text import Detokenizer
from apps.inference.schemas import Completion, CompletionRequest
from apps.registry.models import Provider
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.errors import BadRequest, UnsupportedParameter
from llamastack.stack import LlamaStack
from tests.unit.inference.test_chat_completions import events, serve_as
from tests.upstream import Upstream

URL = "/v1/completions"
SMOLLM = "HuggingFaceTB/SmolLM2-135M-Instruct"
CALL = Call(ANONYMOUS_ADMIN)
STRICT = MetaReferenceConfig()


def request(prompt: Any = "x", **fields: Any) -> CompletionRequest:
    return CompletionRequest.model_validate({"model": SMOLLM, "prompt": prompt} | fields)


# --- over HTTP, to a vendor ---


@pytest.mark.parametrize("prompt", ["a", ["a", "b"], [1, 2], [[1, 2], [3]], ""])
async def test_a_prompt_reaches_the_vendor_as_the_client_wrote_it(
    client: httpx.AsyncClient, sky: Provider, upstream: Upstream, prompt: Any
) -> None:
    response = await client.post(URL, json={"model": "sky/sky-1", "prompt": prompt, "suffix": "end", "logprobs": 2})
    assert response.status_code == 200, response.text
    body = response.json()
    assert (body["object"], body["model"]) == ("text_completion", "sky/sky-1")
    assert body["choices"] == [{"index": 0, "text": "The sky is blue.", "finish_reason": "stop", "logprobs": None}]
    assert upstream.requests[-1] == {"model": "sky-1", "prompt": prompt, "suffix": "end", "logprobs": 2}


@pytest.mark.parametrize("path", [URL, "/v1/openai/v1/completions"])
async def test_a_stream_has_usage_when_asked_and_ends_as_chats_do(
    client: httpx.AsyncClient, sky: Provider, path: str
) -> None:
    body = {"model": "sky/sky-1", "prompt": "a", "stream": True, "stream_options": {"include_usage": True}}
    *chunks, usage = [event for event in events((await client.post(path, json=body)).text) if event != "[DONE]"]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "The sky is blue."
    assert {chunk["model"] for chunk in chunks} == {"sky/sky-1"}
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 9)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstreams_refusal_keeps_its_meaning(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider, stream: bool
) -> None:
    await serve_as(sky, running, "status-429")
    response = await client.post(URL, json={"model": "status-429", "prompt": "a", "stream": stream})
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [2**40]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": ["a"] * 2049}, "prompt"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"best_of": 21}, "best_of"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 129}, "n"),
        ({"echo": "perhaps"}, "echo"),
        ({"best_of": "1"}, "best_of"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"suffix": 1}, "suffix"),
    ],
)
async def test_a_wrong_field_is_named(
    client: httpx.AsyncClient, sky: Provider, change: dict[str, Any], field: str
) -> None:
    response = await client.post(URL, json={"model": "sky/sky-1", "prompt": "a"} | change)
    assert response.status_code == 400, response.text
    assert re.split(r"[.\[]", response.json()["error"]["param"])[0] == field


async def test_a_prompt_is_required(client: httpx.AsyncClient, sky: Provider) -> None:
    response = await client.post(URL, json={"model": "sky/sky-1"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "prompt")


async def test_an_embedding_model_completes_nothing(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    await serve_as(sky, running, "vectors", model_type="embedding")
    response = await client.post(URL, json={"model": "vectors", "prompt": "a"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "model")


# --- on the local engine: what it takes ---


class Characters:
    """A tokenizer whose tokens are characters; one special token begins a document."""

    bos_token_id: int | None = 2

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, tokens: list[int], **options: Any) -> str:
        return "".join(map(chr, tokens))


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ("ab", [[97, 98]]),
        (["a", "b"], [[97], [98]]),
        ([97, 98], [[97, 98]]),
        ([[97], [98]], [[97], [98]]),
        ("", [[2]]),
        (None, [[2]]),
        (["", "a"], [[2], [97]]),
    ],
)
def test_prompts_become_tokens(prompt: Any, tokens: list[list[int]]) -> None:
    assert encode_prompts(Characters(), request(prompt), 128) == tokens


def test_text_that_cannot_fit_is_refused_before_its_tokens_are_counted() -> None:
    with pytest.raises(BadRequest, match="has 9 characters; no more than 8 can fit") as refused:
        encode_prompts(Characters(), request(["a", "b" * 9]), 128, 8)
    assert (refused.value.param, refused.value.code) == ("prompt", "context_length_exceeded")


def test_an_empty_prompt_needs_a_model_that_can_begin() -> None:
    tokenizer = Characters()
    tokenizer.bos_token_id = None
    with pytest.raises(BadRequest) as refused:
        encode_prompts(tokenizer, request(""), 128)
    assert refused.value.param == "prompt"


def test_a_token_that_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(BadRequest, match="Token 128 is none: the model has 128 tokens") as refused:
        encode_prompts(Characters(), request([[5], [127, 128]]), 128)
    assert refused.value.param == "prompt"


def test_echoes_are_the_prompts_text_for_each_choice() -> None:
    assert echoes(Characters(), request([[97], [98]], n=2, echo=True)) == ["a", "a", "b", "b"]
    assert echoes(Characters(), request(["a", "b"])) == ["", ""]


def test_text_goes_on_from_what_stands_before_it() -> None:
    """A tokenizer that drops the space before the first word it decodes, as SentencePiece does."""

    class Spaces(Characters):
        def decode(self, tokens: list[int], **options: Any) -> str:
            return super().decode(tokens).removeprefix(" ")

    assert Detokenizer(Spaces()).feed(ord(" ")) == ""
    assert Detokenizer(Spaces(), [97]).feed(ord(" ")) == " "


@pytest.mark.parametrize(
    ("field", "value"), [("suffix", "end"), ("best_of", 3), ("use_beam_search", True), ("tools", [])]
)
def test_what_cannot_be_honoured_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        honoured(request(**{field: value}), STRICT)
    assert refused.value.param == field


def test_a_suffix_is_refused_with_the_reason() -> None:
    with pytest.raises(UnsupportedParameter, match="cannot fill a gap"):
        honoured(request(suffix="end"), STRICT)


def test_fewer_candidates_than_answers_contradict_each_other() -> None:
    with pytest.raises(BadRequest, match="'best_of' is 1, and 'n' asks for 2"):
        honoured(request(n=2, best_of=1), STRICT)


def test_more_candidates_than_answers_are_left_out_where_the_config_says_so() -> None:
    taken = honoured(request(n=2, best_of=3, suffix="end"), MetaReferenceConfig(drop_unsupported=True))
    assert (taken.n, taken.best_of, taken.suffix) == (2, None, None)


def test_neutral_values_pass() -> None:
    honoured(request(n=2, best_of=2, suffix="", logprobs=2, echo=True, logit_bias={}, user="u", top_k=4), STRICT)


# --- on the local engine: what it says ---


@pytest.fixture
async def provider(local_models: dict[str, Path]) -> AsyncIterator[MetaReference]:
    running = MetaReference("local", MetaReferenceConfig(dtype="float32", device="cpu"))
    yield running
    await running.stop()


async def whole(provider: MetaReference, prompt: Any = "x", **fields: Any) -> Completion:
    reply = await provider.post_completion(CALL, request(prompt, temperature=0, **fields))
    assert isinstance(reply, Completion)
    return reply


@pytest.mark.local_model
async def test_several_prompts_are_several_choices_in_order(provider: MetaReference) -> None:
    prompts = ["The capital of France is", "One, two, three,"]
    together = await whole(provider, prompts, n=2)
    alone = [(await whole(provider, prompt)).choices[0].text for prompt in prompts]
    assert [choice.index for choice in together.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in together.choices] == [alone[0], alone[0], alone[1], alone[1]]
    assert alone[0].startswith(" Paris")
    assert together.usage is not None
    assert together.usage.completion_tokens == 4 * 16


@pytest.mark.local_model
async def test_token_ids_are_a_prompt_like_its_text(provider: MetaReference) -> None:
    said = await whole(provider, "One, two, three,", echo=True, max_tokens=4)
    tokens = (await provider._loaded(SMOLLM)).tokenizer.encode("One, two, three,")
    assert (await whole(provider, tokens, echo=True, max_tokens=4)).choices == said.choices
    assert said.choices[0].text.startswith("One, two, three, four")


@pytest.mark.local_model
async def test_no_tokens_asked_for_are_none_made(provider: MetaReference) -> None:
    reply = await whole(provider, "a b", echo=True, max_tokens=0)
    assert (reply.choices[0].text, reply.choices[0].finish_reason) == ("a b", "length")
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 0


@pytest.mark.local_model
async def test_too_long_a_prompt_is_refused_with_both_numbers(provider: MetaReference) -> None:
    with pytest.raises(BadRequest, match=r"has \d{4} tokens.*4096") as refused:
        await whole(provider, ["a", "word " * 5000])
    assert refused.value.param == "prompt"


@pytest.mark.local_model
async def test_more_answers_than_the_engine_can_queue_are_refused(provider: MetaReference) -> None:
    with pytest.raises(BadRequest, match="265 answers are asked for; this provider takes 264") as refused:
        await whole(provider, ["a"] * 265)
    assert refused.value.param == "prompt"
