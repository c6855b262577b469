"""How a conversation with tools and reasoning is told to a model, and what comes back of its answers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from apps.inference.providers.inline.meta_reference.answers import Answers
from apps.inference.providers.inline.meta_reference.completion import stream_chat, whole_chat
from apps.inference.providers.inline.meta_reference.config import MetaReferenceConfig
from apps.inference.providers.inline.meta_reference.generation import Event, Finish, Generation
from apps.inference.providers.inline.meta_reference.prompt import encode
from apps.inference.providers.inline.meta_reference.tool_forms.talk import Talk, talk
from apps.inference.schemas import ChatCompletionChunk, ChatCompletionRequest, Choice
from llamastack.errors import BadRequest, UnsupportedParameter
from llamastack.sampling import SamplingParams

PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
WITH_TOOLS = (
    "{% if tools %}<tools>{{ tools | tojson }}{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% for c in m.tool_calls %}<call>{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}"
    "{% endfor %}<assistant>"
)
REASONING = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ m.reasoning_content }}{% endfor %}<assistant>"
    "{% if enable_thinking is not false %}<think>{% else %}<think></think>{% endif %}"
)
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
NOW = {"type": "function", "function": {"name": "now", "description": "What time it is"}}
ASKED = {"role": "user", "content": "How is it?"}


def called(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


CALLS = [called("1", "get_weather", '{"a": 1}'), called("2", "now", "")]
ROUND = [
    ASKED,
    {"role": "assistant", "content": "Let me see.", "tool_calls": CALLS},
    {"role": "tool", "tool_call_id": "1", "content": "rain"},
    {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "noon"}]},
]


@dataclass
class Special:
    content: str
    special: bool = True


@dataclass
class Spoken:
    """A tokenizer whose tokens are characters, and beside them special ones."""

    chat_template: str = PLAIN
    specials: Sequence[str] = ()
    added_tokens_decoder: dict[int, Special] = field(init=False)

    def __post_init__(self) -> None:
        self.added_tokens_decoder = {2_000_000 + place: Special(text) for place, text in enumerate(self.specials)}

    def get_added_vocab(self) -> dict[str, int]:
        return {entry.content: token for token, entry in self.added_tokens_decoder.items()}

    def apply_chat_template(self, turns: list[dict[str, Any]], tokenize: bool, **options: Any) -> str:
        template = ImmutableSandboxedEnvironment().from_string(self.chat_template)
        return template.render(messages=turns, **{"raise": self.refuse}, **options)

    def refuse(self) -> None:
        raise TemplateError("not so")

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [ord(character) for character in text]

    def tokens(self, *parts: str) -> list[int]:
        vocabulary = self.get_added_vocab()
        return [t for part in parts for t in ([vocabulary[part]] if part in vocabulary else map(ord, part))]

    def decode(self, tokens: list[int], skip_special_tokens: bool, **options: Any) -> str:
        known = self.added_tokens_decoder
        kept = [t for t in tokens if not (skip_special_tokens and t in known)]
        return "".join(known[t].content if t in known else chr(t) for t in kept)


def request(*messages: dict[str, Any], **fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.model_validate({"model": "m", "messages": list(messages) or [ASKED], **fields})


def talking(tokenizer: Spoken, asked: ChatCompletionRequest, **config: Any) -> Talk:
    return talk(tokenizer, asked, MetaReferenceConfig(**config))


def rendered(tokenizer: Spoken, asked: ChatCompletionRequest) -> str:
    return "".join(map(chr, encode(tokenizer, asked.messages, talking(tokenizer, asked))))


# --- what the model is told ---


def test_a_template_that_knows_tools_is_given_them() -> None:
    text = rendered(Spoken(WITH_TOOLS), request(*ROUND, tools=[WEATHER, NOW]))
    tools, rest = text.removeprefix("<tools>").split("<user>")
    now = {"name": "now", "description": "What time it is", "parameters": {"type": "object", "properties": {}}}
    assert json.loads(tools) == [WEATHER, {"type": "function", "function": now}]
    said = 'Let me see.<call>get_weather{"a": 1}<call>now{}'
    assert rest == f"How is it?<assistant>{said}<tool>rain<tool>noon<assistant>"


def test_a_template_that_knows_none_gets_a_system_text_and_calls_in_the_models_form() -> None:
    text = rendered(Spoken(), request(*ROUND, tools=[WEATHER]))
    system, rest = text.split("<user>", 1)
    assert system.startswith("<system>You can call these tools")
    assert json.dumps(WEATHER["function"]) in system
    assert rest == (
        "How is it?<assistant>Let me see.\n"
        '<tool_call>\n{"name": "get_weather", "arguments": {"a": 1}}\n</tool_call>\n'
        '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
        "<user>The tool get_weather answered: rain\nThe tool now answered: noon<assistant>"
    )


def test_the_clients_system_text_comes_first() -> None:
    text = rendered(Spoken(), request({"role": "system", "content": "Be brief."}, ASKED, tools=[NOW]))
    assert text.startswith("<system>Be brief.\n\nYou can call")


@pytest.mark.parametrize("template", [PLAIN, WITH_TOOLS])
@pytest.mark.parametrize("fields", [{}, {"tools": []}, {"tools": [NOW], "tool_choice": "none"}])
def test_without_tools_or_with_none_of_them_chosen_nothing_is_told(template: str, fields: Any) -> None:
    assert rendered(Spoken(template), request(**fields)) == "<user>How is it?<assistant>"


def test_allowed_tools_are_the_ones_that_are_told_and_called() -> None:
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "now"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    found = talking(Spoken(), request(tools=[WEATHER, NOW], tool_choice=choice))
    assert [function.name for function in found.told] == [function.name for function in found.callable] == ["now"]
    assert not found.must


def test_a_named_tool_is_the_only_one_that_is_called_and_once() -> None:
    choice = {"type": "function", "function": {"name": "now"}}
    found = talking(Spoken(), request(tools=[WEATHER, NOW], tool_choice=choice))
    assert [function.name for function in found.told] == ["get_weather", "now"]
    assert [function.name for function in found.callable] == ["now"]
    assert (found.must, found.most) == (True, 1)


def test_arguments_that_are_no_json_are_told_as_they_are() -> None:
    turn = {"role": "assistant", "tool_calls": [called("1", "now", "{oops")]}
    assert '<call>now"{oops"' in rendered(Spoken(WITH_TOOLS), request(ASKED, turn, tools=[NOW]))
    assert '"arguments": {oops}' in rendered(Spoken(), request(ASKED, turn, tools=[NOW]))


ONE_CALL = WITH_TOOLS.replace("{% for c in", "{% if m.tool_calls | length > 1 %}{{ raise() }}{% endif %}{% for c in")


def test_a_template_that_takes_one_call_a_turn_gets_each_with_its_result() -> None:
    text = rendered(Spoken(ONE_CALL), request(*ROUND, ASKED, ASKED, tools=[NOW])).split("<user>", 1)[1]
    first = 'Let me see.<call>get_weather{"a": 1}<tool>rain'
    assert (
        text
        == f"How is it?<assistant>{first}<assistant><call>now{{}}<tool>noon" + "<user>How is it?" * 2 + "<assistant>"
    )


def test_a_template_that_refuses_still_is_a_400() -> None:
    with pytest.raises(BadRequest, match="refuses these messages"):
        rendered(Spoken("{{ raise() }}"), request(*ROUND, tools=[NOW]))


# --- reasoning ---


@pytest.mark.parametrize(
    "said", [{"content": "<think>\nHm.</think>\n\nYes."}, {"content": "Yes.", "reasoning_content": "Hm."}]
)
def test_earlier_reasoning_is_left_out_unless_the_template_has_a_place_for_it(said: dict[str, str]) -> None:
    messages = [ASKED, {"role": "assistant", **said}, ASKED]
    assert rendered(Spoken(PLAIN + "{# </think> #}"), request(*messages)).count("Hm.") == 0
    assert "<assistant>Yes.Hm.<user>" in rendered(Spoken(REASONING), request(*messages))


def test_effort_is_for_templates_that_take_it() -> None:
    assert talking(Spoken("{{ reasoning_effort }}"), request(reasoning_effort="low")).options == {
        "reasoning_effort": "low"
    }
    assert rendered(Spoken(REASONING), request(reasoning_effort="none")).endswith("<think></think>")
    for template, effort, remedy in [(REASONING, "high", "only be 'none'"), (PLAIN, "none", "Leave it out")]:
        with pytest.raises(UnsupportedParameter, match=remedy) as refused:
            talking(Spoken(template), request(reasoning_effort=effort))
        assert refused.value.param == "reasoning_effort"
        assert talking(Spoken(template), request(reasoning_effort=effort), drop_unsupported=True).options == {}


# --- what comes back ---


class Scripted:
    """An engine whose generations have ended with these tokens."""

    capacity = 8

    def __init__(self, *answers: list[int], reason: Finish = "stop") -> None:
        self.answers = list(answers)
        self.reason = reason

    async def submit(self, tokens: Sequence[int], sampling: SamplingParams) -> Generation:
        generation = Generation(tokens, sampling, 100, Random(1))
        *body, last = self.answers.pop(0)
        for token in body:
            generation.receive(Event(generation, token))
        generation.receive(Event(generation, last, finish_reason=self.reason))
        return generation


@dataclass
class Loaded:
    tokenizer: Any
    engine: Any


def answers(tokenizer: Spoken, asked: ChatCompletionRequest, *texts: Sequence[str], reason: Finish = "stop") -> Any:
    """An Answers of these texts, and the Talk it is part of."""
    prompt = encode(tokenizer, asked.messages, found := talking(tokenizer, asked))
    engine = Scripted(*(tokenizer.tokens(*parts) for parts in texts), reason=reason)
    found = found.prompted(tokenizer, prompt)
    loaded: Any = Loaded(tokenizer, engine)
    return Answers(loaded, [prompt], SamplingParams(), len(texts), marks=found.marks(tokenizer)), found


async def whole(tokenizer: Spoken, asked: ChatCompletionRequest, *texts: Sequence[str], **options: Any) -> list[Choice]:
    return (await whole_chat(*answers(tokenizer, asked, *texts, **options), "m")).choices


async def streamed(
    tokenizer: Spoken, asked: ChatCompletionRequest, *texts: Sequence[str], **options: Any
) -> list[ChatCompletionChunk]:
    return [chunk async for chunk in stream_chat(*answers(tokenizer, asked, *texts, **options), "m", False)]


CALL = '<tool_call>{"name": "now", "arguments": {"zone": "UTC"}}</tool_call>'


async def test_a_call_is_apart_from_what_is_said_and_ends_the_answer() -> None:
    [choice] = await whole(Spoken(), request(tools=[NOW]), ["Wait.\n" + CALL])
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Wait."
    [call] = choice.message.tool_calls or ()
    assert call.model_dump(exclude={"id"}) == {
        "type": "function",
        "function": {"name": "now", "arguments": '{"zone": "UTC"}'},
    }
    assert call.id.startswith("call_")


async def test_content_is_null_where_there_are_only_calls() -> None:
    [choice] = await whole(Spoken(), request(tools=[NOW]), [CALL + CALL])
    assert choice.message.content is None
    assert len({call.id for call in choice.message.tool_calls or ()}) == 2


async def test_a_stream_of_several_choices_tells_each_call_by_name_and_then_its_arguments() -> None:
    chunks = await streamed(Spoken(), request(tools=[NOW]), ["Wait.\n" + CALL], ["No."])
    for index, content, names, reason in [(0, "Wait.", ["now"], "tool_calls"), (1, "No.", [], "stop")]:
        choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
        deltas = [call for choice in choices for call in choice.delta.tool_calls or ()]
        assert "".join(choice.delta.content or "" for choice in choices) == content
        assert [delta.function.name for delta in deltas if delta.function and delta.function.name] == names
        assert all(delta.index == 0 and (delta.id is None) == (delta.type is None) for delta in deltas)
        arguments = [delta.function.arguments or "" for delta in deltas if delta.function]
        assert "".join(arguments) == ('{"zone": "UTC"}' if names else "")
        assert not names or len(arguments) > 10
        assert [choice.finish_reason for choice in choices if choice.finish_reason] == [reason]


@pytest.mark.parametrize(
    ("text", "reason", "told"),
    [
        (CALL, "length", "length"),
        ('<tool_call>{"name": "now", "arguments": {"zo', "stop", "stop"),
        ('<tool_call>{"name": "other", "arguments": {}}</tool_call>', "stop", "stop"),
    ],
)
async def test_what_is_no_whole_call_has_its_own_reason(text: str, reason: str, told: str) -> None:
    asked = request(tools=[NOW])
    [choice] = await whole(Spoken(), asked, [text], reason=reason)
    chunks = await streamed(Spoken(), asked, [text], reason=reason)
    assert choice.finish_reason == chunks[-1].choices[0].finish_reason == told


async def test_a_special_token_is_a_mark_and_other_special_tokens_stay_hidden() -> None:
    llama = Spoken(specials=["<|python_tag|>", "<|eot_id|>"])
    text = ["<|python_tag|>", 'now.call(query="x")', "<|eot_id|>"]
    [choice] = await whole(llama, request(tools=[NOW]), text)
    assert (choice.message.tool_calls or [])[0].function.arguments == '{"query": "x"}'
    [choice] = await whole(llama, request(), text)
    assert (choice.message.content, choice.message.tool_calls) == ('now.call(query="x")', None)


async def test_reasoning_that_the_prompt_begins_is_apart_from_the_answer() -> None:
    [choice] = await whole(Spoken(REASONING), request(), ["Hm.\n</think>\n\nYes."])
    assert (choice.message.reasoning_content, choice.message.content) == ("Hm.", "Yes.")
    chunks = await streamed(Spoken(REASONING), request(), ["Hm.\n</think>\n\nYes."])
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert "".join(delta.reasoning_content or "" for delta in deltas) == "Hm."
    assert "".join(delta.content or "" for delta in deltas) == "Yes."


async def test_a_model_without_reasoning_may_speak_of_its_marks() -> None:
    [choice] = await whole(Spoken(), request(), ["<think>x</think>"])
    assert (choice.message.reasoning_content, choice.message.content) == (None, "<think>x</think>")
