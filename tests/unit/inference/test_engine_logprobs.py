"""Logprobs as clients read them: with the text they belong to, in OpenAI's shapes."""

import math
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import decoders

from apps.inference.providers.inline.meta_reference import MetaReference
from apps.inference.providers.inline.meta_reference.answers import Answers, Piece
from apps.inference.providers.inline.meta_reference.completion import whole_text
from apps.inference.providers.inline.meta_reference.config import MetaReferenceConfig
from apps.inference.providers.inline.meta_reference.generation import Logprob
from apps.inference.providers.inline.meta_reference.logprobs import TokenLogprob, Waiting, Wording, of_prompt
from apps.inference.schemas import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Completion,
    CompletionChunk,
    CompletionRequest,
)
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.sampling import SamplingParams
from tests.unit.inference.test_engine_text import Bytes

SMOLLM = "HuggingFaceTB/SmolLM2-135M-Instruct"
CALL = Call(ANONYMOUS_ADMIN)
LIKELY = Logprob(-0.5)


# --- which text they come with ---


def released(*steps: tuple[str, str]) -> list[int]:
    """How many tokens came with each step: what it made certain, and what was shown."""
    waiting = Waiting(3)
    return [len(waiting.feed(token, LIKELY, *step)) for token, step in enumerate(steps)]


def test_a_token_comes_with_its_text() -> None:
    assert released(("ab", "ab"), ("c", "c")) == [1, 1]


def test_halves_of_a_character_come_with_the_whole() -> None:
    assert released(("a", "a"), ("", ""), ("é", "é"), ("b", "b")) == [1, 0, 2, 1]


def test_what_a_stop_string_may_begin_in_comes_when_it_is_shown() -> None:
    assert released(("a<", "a"), ("e", ""), ("x", "<ex")) == [1, 0, 2]


def test_tokens_of_a_stop_string_never_come() -> None:
    waiting = Waiting(0)
    assert len(waiting.feed(1, LIKELY, "a<", "a")) == 1
    assert waiting.feed(2, LIKELY, "en", "") == ()
    assert waiting.feed(3, LIKELY, "d>b", "") == ()


def test_places_count_from_what_stands_before() -> None:
    waiting = Waiting(3)
    found = waiting.feed(1, LIKELY, "ab", "ab") + waiting.feed(2, LIKELY, "c", "c")
    assert [one.start for one in found] == [3, 5]


def test_half_a_character_at_the_limit_is_left() -> None:
    waiting = Waiting(0)
    assert waiting.feed(1, LIKELY, "", "") == ()
    assert [one.token for one in waiting.rest()] == [1]


def test_a_prompts_first_token_has_none() -> None:
    found = of_prompt(Bytes(), "aéb".encode(), [LIKELY] * 3)
    assert [one.logprob for one in found] == [None, LIKELY, LIKELY, LIKELY]
    assert [one.start for one in found] == [0, 1, 1, 2]


# --- how tokens are written ---


class Vocabulary:
    """Pieces as a tokenizer writes them; the last one is a special token."""

    def __init__(self, decoder: Any, *pieces: str) -> None:
        self.backend_tokenizer = SimpleNamespace(decoder=decoder)
        self._pieces = pieces

    def get_added_vocab(self) -> dict[str, int]:
        return {self._pieces[-1]: len(self._pieces) - 1}

    def convert_ids_to_tokens(self, token: int) -> str | None:
        return self._pieces[token] if token < len(self._pieces) else None


def written(vocabulary: Any, count: int) -> list[tuple[str, bytes]]:
    wording = Wording(vocabulary)
    return [(wording.text(token), wording.bytes(token)) for token in range(count)]


def test_byte_level_pieces_are_bytes() -> None:
    vocabulary = Vocabulary(decoders.ByteLevel(), "Ġcaf", "Ã©", "Ã", "Ċ", "<|Ġ|>")
    assert written(vocabulary, 6) == [
        (" caf", b" caf"), ("é", "é".encode()), ("\\xc3", b"\xc3"), ("\n", b"\n"), ("<|Ġ|>", "<|Ġ|>".encode()),
        ("", b""),
    ]  # fmt: skip


def test_byte_level_is_found_within_a_sequence() -> None:
    assert written(Vocabulary(decoders.Sequence([decoders.ByteLevel()]), "Ġa", "s"), 1) == [(" a", b" a")]


def test_sentencepiece_has_its_own_space_and_bytes() -> None:
    pieces = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    assert written(Vocabulary(pieces, "▁é", "<0xE2>", "</s>"), 3) == [
        (" é", " é".encode()), ("\\xe2", b"\xe2"), ("</s>", b"</s>"),
    ]  # fmt: skip


def test_chats_and_completions_have_their_shapes() -> None:
    wording = Wording(Vocabulary(None, "a", "b", "s"))
    tokens = [TokenLogprob(0, 0, None), TokenLogprob(0, 1, Logprob(-2.0, ((1, -0.25),)))]
    assert wording.chat(tokens[1:]) == {
        "content": [
            {
                "token": "a",
                "logprob": -2.0,
                "bytes": [97],
                "top_logprobs": [{"token": "b", "logprob": -0.25, "bytes": [98]}],
            }
        ],
        "refusal": None,
    }
    assert wording.completion(tokens) == {
        "tokens": ["a", "a"],
        "token_logprobs": [None, -2.0],
        "top_logprobs": [None, {"b": -0.25, "a": -2.0}],
        "text_offset": [0, 1],
    }


class Watched(Vocabulary):
    """Notes in which threads its tokens are written."""

    def __init__(self) -> None:
        super().__init__(None, "a", "b", "s")
        self.threads: set[threading.Thread] = set()

    def convert_ids_to_tokens(self, token: int) -> str | None:
        self.threads.add(threading.current_thread())
        return super().convert_ids_to_tokens(token)


class Answered(Answers):
    """One answer, of one token."""

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        yield Piece(0, "b", "stop", (TokenLogprob(1, 0, LIKELY),))


async def test_those_of_whole_answers_are_written_in_a_thread_beside_other_requests() -> None:
    vocabulary = Watched()
    loaded: Any = SimpleNamespace(tokenizer=vocabulary, engine=SimpleNamespace(capacity=1))
    answers = Answered(loaded, [[1]], SamplingParams(logprobs=1), 1)
    choice = (await whole_text(answers, "m")).choices[0]
    assert choice.logprobs
    assert choice.logprobs["tokens"] == ["b"]
    assert threading.current_thread() not in vocabulary.threads


# --- the real model ---


@pytest.fixture
async def provider(local_models: dict[str, Path]) -> AsyncIterator[MetaReference]:
    running = MetaReference("local", MetaReferenceConfig(dtype="float32", device="cpu"))
    yield running
    await running.stop()


def chat(**fields: Any) -> ChatCompletionRequest:
    messages = [{"role": "user", "content": "Say: café 🙂 日本"}]
    given = {"model": SMOLLM, "messages": messages, "temperature": 0, "max_tokens": 24, "logprobs": True}
    return ChatCompletionRequest.model_validate(given | fields)


async def whole_chat(provider: MetaReference, **fields: Any) -> ChatCompletion:
    reply = await provider.post_chat_completion(CALL, chat(**fields))
    assert isinstance(reply, ChatCompletion)
    return reply


async def streamed_chat(provider: MetaReference, **fields: Any) -> list[ChatCompletionChunk]:
    reply = await provider.post_chat_completion(CALL, chat(stream=True, **fields))
    assert not isinstance(reply, ChatCompletion)
    return [chunk async for chunk in reply]


def prompted(prompt: Any, **fields: Any) -> CompletionRequest:
    return CompletionRequest.model_validate({"model": SMOLLM, "prompt": prompt, "temperature": 0} | fields)


async def completed(provider: MetaReference, prompt: Any, **fields: Any) -> Completion:
    reply = await provider.post_completion(CALL, prompted(prompt, **fields))
    assert isinstance(reply, Completion)
    return reply


def content(choice: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = choice.logprobs["content"]
    return found


def joined(entries: Sequence[dict[str, Any]]) -> str:
    return b"".join(bytes(one["bytes"]) for one in entries).decode()


async def log_softmax(provider: MetaReference, text: str) -> tuple[list[int], torch.Tensor]:
    loaded = await provider._loaded(SMOLLM)
    tokens = loaded.tokenizer.encode(text)
    with torch.inference_mode():
        logits = loaded.engine.model(input_ids=torch.tensor([tokens])).logits[0]
    return tokens, torch.log_softmax(logits.float(), dim=-1)


@pytest.mark.local_model
async def test_an_answers_logprobs_spell_its_text(provider: MetaReference) -> None:
    reply = await whole_chat(provider, top_logprobs=20)
    entries = content(reply.choices[0])
    assert joined(entries) == reply.choices[0].message.content
    assert all(len(one["top_logprobs"]) == 20 for one in entries)
    assert all(one["top_logprobs"][0]["token"] == one["token"] for one in entries)
    assert all(sum(math.exp(top["logprob"]) for top in one["top_logprobs"]) <= 1.0001 for one in entries)


@pytest.mark.local_model
async def test_chunks_carry_those_of_their_own_text(provider: MetaReference) -> None:
    reply = await whole_chat(provider, top_logprobs=1)
    chunks = await streamed_chat(provider, top_logprobs=1)
    parts = [chunk.choices[0] for chunk in chunks if chunk.choices[0].logprobs]
    assert all(joined(content(part)) == part.delta.content for part in parts)
    assert [one for part in parts for one in content(part)] == content(reply.choices[0])


@pytest.mark.local_model
async def test_a_stop_string_ends_the_logprobs_too(provider: MetaReference) -> None:
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Count from one to ten."}]}
    free = (await whole_chat(provider, **asked)).choices[0]
    text = free.message.content or ""
    choice = (await whole_chat(provider, **asked, stop=text[8:14])).choices[0]
    said = choice.message.content or ""
    entries = content(choice)
    assert said == text[: text.index(text[8:14])]
    assert entries == content(free)[: len(entries)]
    assert len(joined(entries[:-1])) < len(said) <= len(joined(entries))


@pytest.mark.local_model
async def test_the_end_of_the_sequence_has_no_text_and_no_entry(provider: MetaReference) -> None:
    messages = [{"role": "user", "content": "Say only: yes"}]
    reply = await whole_chat(provider, messages=messages, max_tokens=200)
    assert reply.usage is not None
    assert reply.choices[0].finish_reason == "stop"
    assert len(content(reply.choices[0])) == reply.usage.completion_tokens - 1


@pytest.mark.local_model
async def test_without_being_asked_nothing_is_said(provider: MetaReference) -> None:
    reply = await whole_chat(provider, logprobs=False, max_tokens=3)
    assert reply.choices[0].logprobs is None
    assert (await completed(provider, "a", max_tokens=2)).choices[0].logprobs is None


@pytest.mark.local_model
async def test_a_prompt_is_scored_as_evaluations_do(provider: MetaReference) -> None:
    """`echo`, no tokens, and logprobs: what lm-evaluation-harness sends."""
    texts = ["The capital of France is Paris.", "Le café 🙂 est là."]
    reply = await completed(provider, texts, max_tokens=0, echo=True, logprobs=1)
    for text, choice in zip(texts, reply.choices, strict=True):
        tokens, rows = await log_softmax(provider, text)
        found: Any = choice.logprobs
        assert (choice.text, choice.finish_reason) == (text, "length")
        assert found["token_logprobs"][0] is found["top_logprobs"][0] is None
        expected = [rows[place, token].item() for place, token in enumerate(tokens[1:])]
        assert found["token_logprobs"][1:] == pytest.approx(expected, abs=1e-3)
        greedy = [int(row.argmax()) == token for row, token in zip(rows, tokens[1:], strict=False)]
        best = [max(top.values()) for top in found["top_logprobs"][1:]]
        assert [value == top for value, top in zip(found["token_logprobs"][1:], best, strict=True)] == greedy
        assert found["text_offset"] == sorted(found["text_offset"])
        assert len(found["tokens"]) == len(tokens)
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 0


@pytest.mark.local_model
async def test_an_echo_goes_on_into_the_answer(provider: MetaReference) -> None:
    prompt = "One, two, three,"
    choice = (await completed(provider, prompt, max_tokens=6, echo=True, logprobs=5)).choices[0]
    found: Any = choice.logprobs
    assert "".join(found["tokens"]) == choice.text
    assert [
        choice.text[start:].startswith(token)
        for start, token in zip(found["text_offset"], found["tokens"], strict=True)
    ]
    tokens, rows = await log_softmax(provider, choice.text)
    expected = [rows[place, token].item() for place, token in enumerate(tokens[1:])]
    assert found["token_logprobs"][1:] == pytest.approx(expected, abs=1e-3)
    reply = await provider.post_completion(CALL, prompted(prompt, max_tokens=6, echo=True, logprobs=5, stream=True))
    assert not isinstance(reply, Completion)
    chunks: list[CompletionChunk] = [chunk async for chunk in reply]
    parts: list[Any] = [chunk.choices[0].logprobs for chunk in chunks]
    assert {key: [one for part in parts for one in part[key]] for key in found} == found


@pytest.mark.local_model
async def test_an_answer_alone_counts_from_its_own_beginning(provider: MetaReference) -> None:
    choice = (await completed(provider, "One, two, three,", max_tokens=4, logprobs=0, n=2)).choices[1]
    found: Any = choice.logprobs
    assert found["text_offset"][0] == 0
    assert "".join(found["tokens"]) == choice.text
    assert [list(top) for top in found["top_logprobs"]] == [[token] for token in found["tokens"]]
