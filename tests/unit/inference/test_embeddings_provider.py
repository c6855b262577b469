"""`inline::sentence-transformers` with the real small model."""

import asyncio
import base64
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from pydantic import ValidationError

from apps.inference.providers.inline.sentence_transformers import SentenceTransformers, SentenceTransformersConfig
from apps.inference.schemas import ChatCompletionRequest, EmbeddingRequest, EmbeddingResponse
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.errors import BadRequest, NotFound, NotSupported, StackError, Unavailable, UnsupportedParameter
from llamastack.providers import ProviderUnavailable

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
CALL = Call(ANONYMOUS_ADMIN)
SENTENCES = [
    "A cat sits on the mat.",
    "Ein Satz auf Deutsch, mit Umlauten: äöü.",
    "The stock market fell sharply on Friday after the central bank raised its rates for the third time this year.",
    "hi",
    "?",
    "日本語の文です。",
    "👍 emoji 🚀",
    "UPPER CASE and lower case",
    "1234567890",
    "Water boils at 100 degrees Celsius.",
    "The quick brown fox jumps over the lazy dog. " * 8,
    "def add(a, b): return a + b",
    "Who painted the ceiling of the Sistine Chapel?",
    "Rain in the morning,\nsun in the afternoon.",
    "a b c d e f g",
    "To be, or not to be, that is the question.",
    "Supercalifragilisticexpialidocious",
    "https://example.org/path?query=1",
    "The committee will meet on Tuesday to discuss the budget and the repair of the school's roof.",
    "🙂",
]

pytestmark = pytest.mark.local_model


@pytest.fixture(scope="module")
def expected(local_models: dict[str, Path]) -> numpy.ndarray:
    """What sentence-transformers says in fp32."""
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(local_models[MINILM]), device="cpu")
    vectors: numpy.ndarray = reference.encode(SENTENCES, show_progress_bar=False)
    return vectors


@pytest.fixture
async def provider(local_models: dict[str, Path]) -> AsyncIterator[SentenceTransformers]:
    running = SentenceTransformers("local", SentenceTransformersConfig(model=MINILM, device="cpu"))
    await running.start()
    yield running
    await running.stop()


async def reply(provider: SentenceTransformers, **fields: Any) -> EmbeddingResponse:
    return await provider.post_embedding(CALL, EmbeddingRequest.model_validate({"model": MINILM} | fields))


async def vectors(provider: SentenceTransformers, **fields: Any) -> numpy.ndarray:
    return numpy.array([item.embedding for item in (await reply(provider, **fields)).data])


def cosines(left: numpy.ndarray, right: numpy.ndarray) -> numpy.ndarray:
    lengths = numpy.linalg.norm(left, axis=1) * numpy.linalg.norm(right, axis=1)
    found: numpy.ndarray = (left * right).sum(axis=1) / lengths
    return found


async def test_vectors_are_those_of_sentence_transformers(
    provider: SentenceTransformers, expected: numpy.ndarray
) -> None:
    found = await vectors(provider, input=SENTENCES)
    assert found.shape == (20, 384)
    assert cosines(found, expected).min() >= 0.999
    assert numpy.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-3)


async def test_in_fp32_they_are_the_same(local_models: dict[str, Path], expected: numpy.ndarray) -> None:
    provider = SentenceTransformers("local", SentenceTransformersConfig(dtype="float32", device="cpu"))
    assert await vectors(provider, input=SENTENCES) == pytest.approx(expected, abs=1e-5)
    await provider.stop()


async def test_one_request_with_many_inputs_keeps_their_order(
    provider: SentenceTransformers, expected: numpy.ndarray
) -> None:
    places = [place % 20 for place in range(300)]
    answer = await reply(provider, input=[SENTENCES[place] for place in places])
    assert [item.index for item in answer.data] == list(range(300))
    found = numpy.array([item.embedding for item in answer.data])
    assert cosines(found, expected[places]).min() >= 0.999


async def test_requests_that_meet_get_their_own_vectors(
    provider: SentenceTransformers, expected: numpy.ndarray
) -> None:
    answers = await asyncio.gather(*(vectors(provider, input=sentence) for sentence in SENTENCES))
    assert cosines(numpy.concatenate(answers), expected).min() >= 0.999


async def test_base64_holds_the_same_floats(provider: SentenceTransformers) -> None:
    floats = await vectors(provider, input=SENTENCES[:3])
    answer = await reply(provider, input=SENTENCES[:3], encoding_format="base64")
    decoded = [numpy.frombuffer(base64.b64decode(str(item.embedding)), dtype="<f4") for item in answer.data]
    assert numpy.array(decoded) == pytest.approx(floats, abs=2e-3)


async def test_usage_counts_the_tokens_that_were_embedded(provider: SentenceTransformers) -> None:
    usage = (await reply(provider, input=["hello world", "hello"])).usage
    assert (usage.prompt_tokens, usage.total_tokens) == (7, 7)  # [CLS] hello world [SEP] and [CLS] hello [SEP]


async def test_token_ids_are_inputs_too(provider: SentenceTransformers) -> None:
    text = await vectors(provider, input="hello world")
    for tokens in ([7592, 2088], [[7592, 2088]], [101, 7592, 2088, 102]):
        assert cosines(await vectors(provider, input=tokens), text).min() >= 0.9999


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"input": ""}, "input", "empty"),
        ({"input": ["a", ""]}, "input", "empty"),
        ({"input": [30522]}, "input", "30522"),
        ({"input": "a", "dimensions": 128}, "dimensions", "384"),
        ({"input": "a", "dimensions": 1024}, "dimensions", "384"),
        ({"input": "word " * 300}, "input", "302 tokens.*256"),
        ({"input": [1] * 300}, "input", "302 tokens.*256"),
        ({"input": "a", "text_truncation": "middle"}, "text_truncation", "none"),
    ],
)
async def test_bad_inputs_are_400s_that_name_the_field(
    provider: SentenceTransformers, fields: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(BadRequest, match=words) as refused:
        await reply(provider, **fields)
    assert refused.value.param == field


async def test_unknown_parameters_are_refused(provider: SentenceTransformers) -> None:
    with pytest.raises(UnsupportedParameter, match="task_type"):
        await reply(provider, input="a", task_type="query")


async def test_native_dimensions_and_a_user_are_fine(provider: SentenceTransformers) -> None:
    assert (await vectors(provider, input="a", dimensions=384, user="me")).shape == (1, 384)


@pytest.mark.parametrize(("side", "kept"), [("end", "first "), ("start", "last ")])
async def test_truncation_is_done_where_it_is_asked_for(provider: SentenceTransformers, side: str, kept: str) -> None:
    long = await reply(provider, input="first " * 300 + "last " * 300, text_truncation=side)
    whole = await vectors(provider, input=kept * 254)
    assert long.usage.prompt_tokens == 256
    assert cosines(numpy.array([long.data[0].embedding]), whole).min() >= 0.9999


async def test_sentence_transformers_cuts_the_same_end(local_models: dict[str, Path]) -> None:
    from sentence_transformers import SentenceTransformer

    provider = SentenceTransformers("local", SentenceTransformersConfig(dtype="float32", device="cpu"))
    text = "The quick brown fox jumps over the lazy dog. " * 60
    reference = SentenceTransformer(str(local_models[MINILM]), device="cpu").encode([text], show_progress_bar=False)
    assert await vectors(provider, input=text, text_truncation="end") == pytest.approx(reference, abs=1e-5)
    await provider.stop()


async def test_models_have_their_figures(provider: SentenceTransformers) -> None:
    (model,) = await provider.get_models(CALL)
    assert (model.provider_model_id, model.model_type) == (MINILM, "embedding")
    assert model.metadata == {"embedding_dimension": 384, "context_length": 256}


async def test_another_model_is_not_found(provider: SentenceTransformers) -> None:
    with pytest.raises(NotFound, match=MINILM):
        await reply(provider, model="another", input="a")


async def test_it_does_not_chat(provider: SentenceTransformers) -> None:
    request = ChatCompletionRequest.model_validate({"model": MINILM, "messages": [{"role": "user", "content": "x"}]})
    with pytest.raises(NotSupported):
        await provider.post_chat_completion(CALL, request)


async def test_stopping_is_repeatable_and_told_by_health(provider: SentenceTransformers) -> None:
    assert (await provider.health()).ok
    await provider.stop()
    await provider.stop()
    assert not (await provider.health()).ok
    await provider.start()
    assert (await provider.health()).ok


async def test_a_failing_batch_fails_its_requests_and_the_next_one_is_served(provider: SentenceTransformers) -> None:
    embedder = await provider._loads.get(MINILM)
    with pytest.raises(StackError, match="while embedding"):
        await embedder.embed([[-1]])  # no such token: the lookup fails
    assert (await vectors(provider, input="a")).shape == (1, 384)


async def test_a_stopped_embedder_refuses(provider: SentenceTransformers) -> None:
    embedder = await provider._loads.get(MINILM)
    await provider.stop()
    with pytest.raises(Unavailable):
        await embedder.embed([[101, 102]])


async def test_a_caller_that_gives_up_is_skipped(provider: SentenceTransformers) -> None:
    embedder = await provider._loads.get(MINILM)
    given_up = asyncio.create_task(embedder.embed([[101, 7592, 102]] * 500))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    assert (await vectors(provider, input="a")).shape == (1, 384)


async def test_an_absent_model_says_how_to_get_it() -> None:
    provider = SentenceTransformers("local", SentenceTransformersConfig(model="nobody/nothing"))
    with pytest.raises(ProviderUnavailable, match="nobody/nothing"):
        await provider.start()


def test_remote_code_is_refused_with_a_reason() -> None:
    with pytest.raises(ValidationError, match="server's rights"):
        SentenceTransformersConfig(trust_remote_code=True)
    SentenceTransformersConfig.model_validate(SentenceTransformersConfig.sample_run_config())


def test_importing_the_provider_imports_no_torch() -> None:
    program = (
        "import sys; from apps.inference.providers.inline.sentence_transformers import SentenceTransformers as P;"
        "P('a', P.config_class());"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'numpy', 'django')))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
