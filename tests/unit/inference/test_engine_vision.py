"""Models that see: what the engine says of images equals what transformers' generate says."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from apps.inference.providers.inline.meta_reference import MetaReference
from apps.inference.providers.inline.meta_reference.config import MetaReferenceConfig
from apps.inference.providers.inline.meta_reference.loader import LoadedModel, load
from apps.inference.providers.inline.meta_reference.seen import Seen
from apps.inference.schemas import ChatCompletion, ChatCompletionRequest, Message
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.errors import BadRequest
from llamastack.providers import ProviderUnavailable
from llamastack.sampling import SamplingParams
from tests.unit.inference.seeing import FAMILIES, image_part, picture, save, url

COUNT = 40
CALL = Call(ANONYMOUS_ADMIN)
CONFIG = MetaReferenceConfig(dtype="float32", device="cpu")
ONE, TWO = picture(1), picture(2, 90, 50)


@pytest.fixture(scope="module", params=list(FAMILIES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
async def loaded(folder: Path) -> AsyncIterator[LoadedModel]:
    model = await asyncio.to_thread(load, str(folder), CONFIG)
    yield model
    await asyncio.to_thread(model.engine.stop)


Turn = tuple[str, list[str | Image.Image]]


def messages(turns: list[Turn]) -> list[Message]:
    return [Message.model_validate({"role": role, "content": [_part(item) for item in items]}) for role, items in turns]


def _part(item: str | Image.Image) -> dict[str, Any]:
    return {"type": "text", "text": item} if isinstance(item, str) else image_part(url(item))


def reference(folder: Path, turns: list[Turn]) -> list[int]:
    """transformers' own way from the conversation to greedy tokens."""
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    conversation = [
        {"role": role, "content": [{"type": "text", "text": i} if isinstance(i, str) else {"type": "image", "image": i}
                                   for i in items]}
        for role, items in turns
    ]  # fmt: skip
    inputs = processor.apply_chat_template(
        conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    output = model.generate(**inputs, do_sample=False, max_new_tokens=COUNT, eos_token_id=None)
    found: list[int] = output[0, inputs["input_ids"].shape[1] :].tolist()
    return found


async def tokens(loaded: LoadedModel, turns: list[Turn]) -> list[int]:
    assert loaded.eyes
    prompt = loaded.eyes.encode(messages(turns))
    return [token async for token in await loaded.engine.submit(prompt, SamplingParams(max_tokens=COUNT))]


CONVERSATIONS: dict[str, list[Turn]] = {
    "one image": [("user", ["What is this?", ONE])],
    "another image": [("user", ["What is this?", TWO])],
    "two images": [("user", [ONE, "or", TWO, "é?"])],
    "an image before": [("system", ["s"]), ("user", [TWO]), ("assistant", ["Noise."]), ("user", ["And", ONE, "?"])],
    "text": [("user", ["Say something."])],
    "longer text": [("user", ["Say something longer, please."]), ("assistant", ["No."]), ("user", ["Do."])],
}


async def test_alone_and_in_one_batch_it_says_what_generate_says(loaded: LoadedModel, folder: Path) -> None:
    loaded.engine.ends = frozenset()
    expected = [reference(folder, turns) for turns in CONVERSATIONS.values()]
    assert [await tokens(loaded, turns) for turns in CONVERSATIONS.values()] == expected
    assert await asyncio.gather(*(tokens(loaded, turns) for turns in CONVERSATIONS.values())) == expected
    assert len({tuple(found) for found in expected}) == len(expected)


async def test_in_bfloat16_it_looks_too(folder: Path) -> None:
    loaded = await asyncio.to_thread(load, str(folder), CONFIG.model_copy(update={"dtype": "bfloat16"}))
    first, second = await tokens(loaded, CONVERSATIONS["one image"]), await tokens(loaded, CONVERSATIONS["two images"])
    assert first
    assert first != second
    await asyncio.to_thread(loaded.engine.stop)


async def test_images_of_any_shape_are_taken(loaded: LoadedModel) -> None:
    assert loaded.eyes
    for width, height in ((1, 1), (3, 3), (1, 50), (50, 1), (3, 90), (333, 7)):
        prompt = loaded.eyes.encode(messages([("user", [picture(1, width, height)])]))
        generation = await loaded.engine.submit(prompt, SamplingParams(max_tokens=1))
        assert len([token async for token in generation]) == 1


async def test_text_that_spells_an_image_is_refused_beside_images(loaded: LoadedModel) -> None:
    assert loaded.eyes
    for mark in ("<image>", "<|start|>", "<|end|>"):
        turns: list[Turn] = [("system", [f"a{mark}b"]), ("user", [ONE])]
        with pytest.raises(BadRequest, match=re.escape(mark)) as refused:
            loaded.eyes.encode(messages(turns))
        assert refused.value.param == "messages[0].content[0].text"
        assert not isinstance(loaded.eyes.encode(messages([("user", [f"a{mark}b"])])), Seen)


async def test_a_prompt_whose_images_do_not_fit_is_refused_with_both_numbers(loaded: LoadedModel) -> None:
    assert loaded.eyes
    prompt = loaded.eyes.encode(messages([("user", [TWO] * 10 + ["x" * 500])]))
    with pytest.raises(BadRequest, match=rf"has {len(prompt)} tokens.*512") as refused:
        await loaded.engine.submit(prompt, SamplingParams())
    assert refused.value.code == "context_length_exceeded"


# --- what does not load ---


def test_a_template_that_places_no_images_is_found_at_loading(tmp_path: Path) -> None:
    path = save("llava", tmp_path / "llava")
    (path / "chat_template.jinja").write_text("{{ messages[0].role }}")
    with pytest.raises(ProviderUnavailable, match="image"):
        load(str(path), CONFIG)


def test_a_processor_made_for_other_weights_is_found_at_loading(tmp_path: Path) -> None:
    path = save("llava", tmp_path / "llava")
    settings = json.loads((path / "processor_config.json").read_text())
    (path / "processor_config.json").write_text(json.dumps(settings | {"patch_size": 7}))
    with pytest.raises(ProviderUnavailable, match="tokens"):
        load(str(path), CONFIG)


def test_a_model_of_images_of_another_type_names_those_that_work(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_vl"}')
    (tmp_path / "model.safetensors").write_bytes(b"not read")
    with pytest.raises(ProviderUnavailable, match=r"'qwen2_vl'.*gemma3, idefics3, llava, llava_next"):
        load(str(tmp_path), CONFIG)


# --- a client's view ---


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[MetaReference]:
    path = await asyncio.to_thread(save, "llava", tmp_path / "llava")
    running = MetaReference("local", CONFIG.model_copy(update={"model": str(path)}))
    yield running
    await running.stop()


def asking(provider: MetaReference, *parts: Any, **fields: Any) -> ChatCompletionRequest:
    turns = [{"role": "user", "content": list(parts)}]
    base = {"model": provider.config.model, "messages": turns, "temperature": 0, "max_tokens": 6}
    return ChatCompletionRequest.model_validate(base | fields)


async def test_a_chat_about_an_image_answers_and_counts_its_tokens(provider: MetaReference) -> None:
    text = {"type": "text", "text": "x"}
    plain = await provider.post_chat_completion(CALL, asking(provider, text))
    seen = await provider.post_chat_completion(CALL, asking(provider, text, image_part(url(ONE)), n=2))
    assert isinstance(plain, ChatCompletion)
    assert isinstance(seen, ChatCompletion)
    assert plain.usage
    assert seen.usage
    assert seen.usage.prompt_tokens == plain.usage.prompt_tokens + 4
    assert seen.choices[0].message.content == seen.choices[1].message.content != plain.choices[0].message.content


async def test_an_image_goes_with_tools_and_with_a_form_of_the_answer(provider: MetaReference) -> None:
    tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}
    seen = await provider.post_chat_completion(CALL, asking(provider, image_part(url(ONE))))
    told = await provider.post_chat_completion(CALL, asking(provider, image_part(url(ONE)), tools=[tool]))
    formed = await provider.post_chat_completion(
        CALL, asking(provider, image_part(url(ONE)), structured_outputs={"choice": ["yes", "no"]})
    )
    assert isinstance(seen, ChatCompletion)
    assert isinstance(told, ChatCompletion)
    assert isinstance(formed, ChatCompletion)
    assert seen.usage
    assert told.usage
    assert told.usage.prompt_tokens > seen.usage.prompt_tokens
    assert formed.choices[0].message.content in ("yes", "no")


async def test_it_says_that_it_sees(provider: MetaReference) -> None:
    (model,) = await provider.get_models(CALL)
    assert model.metadata == {"context_length": 512, "input_modalities": ["text", "image"]}


async def test_a_bad_image_names_its_part(provider: MetaReference) -> None:
    text = {"type": "text", "text": "x"}
    with pytest.raises(BadRequest, match="An image comes as") as refused:
        await provider.post_chat_completion(CALL, asking(provider, text, image_part("a.png")))
    assert refused.value.param == "messages[0].content[1].image_url.url"
