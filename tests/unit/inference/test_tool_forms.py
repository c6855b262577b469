"""Calls as families of models write them: read from text cut anywhere, written, and checked against llama-models."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_models.datatypes import BuiltinTool, StopReason, ToolPromptFormat
from llama_models.datatypes import ToolCall as LlamaToolCall
from llama_models.llama3.chat_format import ChatFormat
from llama_models.llama3.tokenizer import Tokenizer as Llama3Tokenizer
from llama_models.llama3.tool_utils import ToolUtils
from llama_models.llama4.tokenizer import Tokenizer as Llama4Tokenizer

from apps.inference.providers.inline.meta_reference.tool_forms.events import Argued, Called, Said, Thought
from apps.inference.providers.inline.meta_reference.tool_forms.forms import CHATML, LLAMA_3, LLAMA_4, Form, form_of
from apps.inference.providers.inline.meta_reference.tool_forms.reader import Reader, Thinking
from apps.inference.providers.inline.meta_reference.tool_forms.values import python_to_json
from apps.inference.schemas import Function, FunctionCall

NAMES = ("get_weather", "get-time", "now", "brave_search")
THINK = Thinking("<think>", "</think>")
FORMS = [CHATML, LLAMA_3, LLAMA_4]
Item = tuple[str, ...]


def read(form: Form, *pieces: str, names: Sequence[str] = NAMES, **options: Any) -> tuple[list[Item], bool]:
    """What was read, neighbours of a kind as one; and whether there were calls, all whole."""
    reader = Reader(form, names, **options)
    events = [event for piece in pieces for event in reader.feed(piece)] + reader.flush()
    found: list[Item] = []
    for event in events:
        match event:
            case Called(index, id, name):
                assert index == sum(item[0] == "call" for item in found)
                assert id.startswith("call_")
                found.append(("call", name, ""))
            case Argued(_, text):
                kind, name, before = found.pop()
                found.append((kind, name, before + text))
            case Said(text) | Thought(text):
                kind = "said" if isinstance(event, Said) else "thought"
                before = found.pop()[1] if found and found[-1][0] == kind else ""
                found.append((kind, before + text))
    return found, reader.called


PARIS = '{"city": "Paris"}'
WHOLE: list[tuple[Form, str, list[Item]]] = [
    # ChatML
    (
        CHATML,
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>',
        [("call", "get_weather", PARIS)],
    ),
    (
        CHATML,
        """Let me see.
<tool_call>{"name": "now", "arguments": {}}</tool_call>
<tool_call>
{"name":"get-time","arguments":{"zone":"<tool_call>}"}}
</tool_call>
""",
        [("said", "Let me see."), ("call", "now", "{}"), ("call", "get-time", '{"zone":"<tool_call>}"}')],
    ),
    (CHATML, '<tool_call>{"arguments": {"a": [{}]}, "name": "now"}</tool_call>', [("call", "now", '{"a": [{}]}')]),
    (CHATML, '<tool_call>{"name": "now"}</tool_call> and so', [("call", "now", "{}"), ("said", " and so")]),
    (CHATML, '<tool_call>{"name": "now", "arguments": {}', [("call", "now", "{}")]),
    # Llama 3
    (LLAMA_3, '{"name": "get_weather", "parameters": {"city": "Paris"}}', [("call", "get_weather", PARIS)]),
    (LLAMA_3, '\n{"type": "function", "name": "now", "parameters": {}}', [("call", "now", "{}")]),
    (LLAMA_3, '{"name": "now", "parameters": {}, "type": "function"}', [("call", "now", "{}")]),
    (
        LLAMA_3,
        '{"name": "now", "parameters": {}}; {"name": "get-time", "parameters": {"a": 1}}',
        [("call", "now", "{}"), ("call", "get-time", '{"a": 1}')],
    ),
    (LLAMA_3, '<|python_tag|>{"name": "now", "parameters": {}}', [("call", "now", "{}")]),
    (LLAMA_3, '<|python_tag|>brave_search.call(query="a (b), c")', [("call", "brave_search", '{"query": "a (b), c"}')]),
    (LLAMA_3, '<function=get_weather>{"city": "Paris"}</function>', [("call", "get_weather", PARIS)]),
    (LLAMA_3, 'Well: <function=now>{}</function>', [("said", "Well:"), ("call", "now", "{}")]),
    (LLAMA_3, "[get_weather(city='Paris')]", [("call", "get_weather", PARIS)]),
    # Llama 4
    (
        LLAMA_4,
        """[get_weather(city="Paris"), now(), get-time(a=[1, -2.5], b={'k': None}, c=true, d=(1,), e='it\\'s "so"')]""",
        [
            ("call", "get_weather", PARIS),
            ("call", "now", "{}"),
            ("call", "get-time", '{"a": [1, -2.5], "b": {"k": null}, "c": true, "d": [1], "e": "it\'s \\"so\\""}'),
        ],
    ),
    (
        LLAMA_4,
        "So: <|python_start|>[now()]<|python_end|> Done.",
        [("said", "So:"), ("call", "now", "{}"), ("said", " Done.")],
    ),
    (LLAMA_4, "[ now ( a = 1 , ) , ]", [("call", "now", '{"a": 1}')]),
    (LLAMA_4, '{"name": "now", "parameters": {}}', [("call", "now", "{}")]),
]  # fmt: skip
NO_CALLS: list[tuple[Form, str]] = [
    (CHATML, 'x <tool_call>{"name": "unknown", "arguments": {}}</tool_call> y '),
    (CHATML, "<tool_call>now()</tool_call>"),
    (CHATML, '<tool_call>{"name": "now", "arguments": "none"}</tool_call>'),
    (CHATML, "<tool_call>{'name': 'now', 'arguments': {}}</tool_call>"),
    (CHATML, '<tool_call>{"arguments": {"a": b}, "name": "now"}</tool_call>'),
    (CHATML, '{"name": "now", "arguments": {}}'),
    (CHATML, "a <tool_"),
    (CHATML, "[now()]"),
    (LLAMA_3, '{"name": "Bob", "age": 4}'),
    (LLAMA_3, '{"name": "now", "age": 4}'),
    (LLAMA_3, '{"parameters": {}, "name": "unknown"}'),
    (LLAMA_3, '{"na'),
    (LLAMA_3, "See [now()] there"),
    (LLAMA_3, "<function=unknown>{}</function>"),
    (LLAMA_3, "<function=now>(1)</function>"),
    (LLAMA_4, "[1] is a footnote"),
    (LLAMA_4, "[unknown(a=1)]"),
    (LLAMA_4, "[get_weather(city=find(1))]"),
    (LLAMA_4, "[get_weather('Paris')]"),
    (LLAMA_4, "[get_weather(city=__import__('os').system('x'))]"),
    (LLAMA_4, "[get_weather(city=f'{x}')]"),
    (LLAMA_4, "[get_weather(city="),
]  # fmt: skip


@pytest.mark.parametrize(("form", "text", "expected"), WHOLE)
def test_a_whole_call_is_read(form: Form, text: str, expected: list[Item]) -> None:
    assert read(form, text) == (expected, True)


@pytest.mark.parametrize(("form", "text"), NO_CALLS)
def test_what_is_no_call_of_a_given_tool_is_text_and_nothing_is_lost(form: Form, text: str) -> None:
    assert read(form, text) == ([("said", text)], False)


def test_without_tools_all_is_text() -> None:
    text = '<tool_call>{"name": "now", "arguments": {}}</tool_call> '
    assert read(CHATML, text, names=()) == ([("said", text)], False)


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        (CHATML, '<tool_call>{"name": "now", "arguments": {"a": "', [("call", "now", '{"a": "')]),
        (CHATML, '<tool_call>{"name": "now", "arguments": {"a": b}}', [("call", "now", '{"a": b}')]),
        (LLAMA_4, "[now(a=1, b=", [("call", "now", '{"a": 1, b=')]),
        (LLAMA_4, "[now(a=1, b=c), now()]", [("call", "now", '{"a": 1, b=c), now()]')]),
    ],
)
def test_arguments_that_break_off_after_the_call_was_told_stay_arguments_of_no_whole_call(
    form: Form, text: str, expected: list[Item]
) -> None:
    assert read(form, text) == (expected, False)


def test_calls_before_a_broken_one_stand() -> None:
    assert read(LLAMA_4, "[now(), unknown(a=1)]") == ([("call", "now", "{}"), ("said", ", unknown(a=1)]")], True)


@pytest.mark.parametrize("tool", ["code_interpreter", "ipython"])
def test_code_is_a_call_where_a_tool_takes_code(tool: str) -> None:
    code = 'print("é")\nx = [1]'
    found, called = read(LLAMA_3, f"<|python_tag|>{code}", names=[tool])
    assert (found[0][:2], json.loads(found[0][2]), called) == (("call", tool), {"code": code}, True)
    assert read(LLAMA_3, f"<|python_tag|>{code}") == ([("said", code)], False)
    found, _ = read(LLAMA_4, f"<|python_start|>{code}\n<|python_end|>", names=[tool])
    assert json.loads(found[0][2]) == {"code": code}


def test_special_tokens_are_never_text() -> None:
    assert read(LLAMA_4, "a <|python_end|>b<|python_start|>") == ([("said", "a b")], False)


def test_after_the_most_calls_nothing_follows() -> None:
    text = "<tool_call>" + '{"name": "now", "arguments": {}}</tool_call>\n<tool_call>' * 2 + "x"
    assert read(CHATML, text, most=1) == ([("call", "now", "{}")], True)
    assert read(LLAMA_4, "[now(), now()]", most=1) == ([("call", "now", "{}")], True)


@pytest.mark.parametrize(
    ("text", "begun", "expected"),
    [
        ("<think>\nHm.\n\n</think>\n\nYes.", False, [("thought", "Hm."), ("said", "Yes.")]),
        ("Hm.\n</think>\n\nYes.", True, [("thought", "Hm."), ("said", "Yes.")]),
        ("<think>Hm.</think>Yes.", True, [("thought", "Hm."), ("said", "Yes.")]),
        ("<think>\n\n</think>\n\nYes.", False, [("said", "Yes.")]),
        ("<think>Hm", False, [("thought", "Hm")]),
        ("Hm <think>x</think>", False, [("said", "Hm <think>x</think>")]),
        ('<think>{"name": "now", "parameters": {}}</think>[now()]', False,
         [("thought", '{"name": "now", "parameters": {}}'), ("call", "now", "{}")]),
    ],
)  # fmt: skip
def test_reasoning_is_apart_from_what_is_said(text: str, begun: bool, expected: list[Item]) -> None:
    thinking = Thinking("<think>", "</think>", begun=begun)
    assert read(LLAMA_3, text, thinking=thinking)[0] == expected
    assert read(LLAMA_3, *text, thinking=thinking)[0] == expected


def test_arguments_come_as_they_are_written() -> None:
    reader = Reader(CHATML, NAMES)
    assert reader.feed('<tool_call>{"name": "now", "arguments": ') == []
    called, first = reader.feed('{"a')
    assert isinstance(called, Called)
    assert first == Argued(0, '{"a')
    assert reader.feed('": "x') == [Argued(0, '": "x')]
    python = Reader(LLAMA_4, NAMES)
    assert python.feed('[now(a="x') == []
    assert python.feed('", b=')[1] == Argued(0, '{"a": "x"')
    assert python.feed("2)") == [Argued(0, ', "b": 2'), Argued(0, "}")]


def test_text_before_a_call_is_not_held_back() -> None:
    assert Reader(CHATML, NAMES).feed("Let me <b") == [Said("Let me <b")]
    assert Reader(CHATML, NAMES).feed("Let me <to") == [Said("Let me")]


PARTS = [
    "<tool_call>", "</tool_call>", '{"name": "now", "arguments": {', '"a": 1', "}", "}}", "\n", " ", "x", "[now(",
    "a=1", ", ", "b='\\", "'", ")", "]", "<function=now>", "</function>", "<|python_tag|>", "<|python_start|>", '"',
    "<|python_end|>", '{"arguments": {}, "name": "now"}', "; ", "now.call(", "<think>", "</think>", "{", "é", "<",
    "get_weather(",
]  # fmt: skip


@settings(max_examples=400)
@given(data=st.data(), form=st.sampled_from(FORMS), most=st.sampled_from([None, 1]))
def test_how_the_text_is_cut_makes_no_difference(data: st.DataObject, form: Form, most: int | None) -> None:
    examples = [text for other, text, _ in WHOLE if other is form]
    text = data.draw(st.lists(st.sampled_from(PARTS + examples), max_size=12).map("".join))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = read(form, text, thinking=THINK, most=most)
    assert read(form, *pieces, thinking=THINK, most=most) == whole
    assert read(form, *text, thinking=THINK, most=most) == whole


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9999, 9999) | st.floats(-1e300, 1e300) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300)
@given(value=JSON)
def test_a_python_literal_becomes_the_same_json(value: Any) -> None:
    written = python_to_json(repr(value))
    assert written is not None
    assert json.loads(written) == value


@pytest.mark.parametrize(
    "text",
    ["x", "1 + 1", "{1, 2}", "b'x'", "1e999", "f''", "[x for x in y]", "'\\ud800'", "(" * 5000, "9" * 5000, "", "...",
     "1j", "lambda: 1", "__import__('os')", "'a' if 1 else 'b'", "{1: 2, [3]: 4}"],
)  # fmt: skip
def test_what_is_no_literal_or_has_no_json_is_none(text: str) -> None:
    assert python_to_json(text) is None


def test_an_escape_that_is_none_is_meant_as_it_stands() -> None:
    assert json.loads(python_to_json(r"'\d+\\\''") or "") == r"\d+" + "\\'"


@settings(max_examples=200)
@given(arguments=st.dictionaries(st.text(max_size=5), JSON, max_size=3), form=st.sampled_from(FORMS))
def test_what_is_written_is_read_again(arguments: dict[str, Any], form: Form) -> None:
    text = json.dumps(arguments)
    calls = [FunctionCall(name="now", arguments=text), FunctionCall(name="get_weather", arguments="")]
    assert read(form, form.written(calls)) == ([("call", "now", text), ("call", "get_weather", "{}")], True)


# --- against llama-models ---


LLAMAS = pytest.mark.parametrize("form", [LLAMA_3, LLAMA_4], ids=["llama3", "llama4"])


def decoded(form: Form, text: str) -> list[Item]:
    """What llama-models reads: at most one call. (Llama 4's decoder differs in its marks, and needs torchvision.)"""
    chat = ChatFormat(Llama3Tokenizer.get_instance())
    text = text.replace(form.mark, LLAMA_3.mark).replace(form.end, "")
    message = chat.decode_assistant_message_from_content(text, StopReason.end_of_turn)
    for call in message.tool_calls:
        name = call.tool_name.value if isinstance(call.tool_name, BuiltinTool) else call.tool_name
        return [("call", name, json.dumps(call.arguments, sort_keys=True))]
    return [("said", message.content)]


def ours(form: Form, text: str) -> list[Item]:
    found, _ = read(form, text, names=[*NAMES, "code_interpreter"])
    return [
        (*item[:2], *(json.dumps(json.loads(arguments), sort_keys=True) for arguments in item[2:])) for item in found
    ]


@LLAMAS
@pytest.mark.parametrize(
    "text",
    [
        '{"name": "get_weather", "parameters": {"city": "Paris", "days": 3}}',
        '{"type": "function", "name": "get_weather", "parameters": {"city": "Paris"}}',
        '<function=get_weather>{"city": "Paris"}</function>',
        "[get_weather(city='Paris', days=3, exact=True)]",
        "[now()]",
        "Just words.",
        "MARKbrave_search.call(query=\"who is 'it'?\")",
        "MARK[get_weather(city='Paris')]",
        "MARKimport math\nprint(math.pi)",
    ],
)
def test_llama_models_reads_the_same(form: Form, text: str) -> None:
    text = text.replace("MARK", form.mark)
    assert ours(form, text) == decoded(form, text)


@LLAMAS
@pytest.mark.parametrize("kind", list(ToolPromptFormat))
@pytest.mark.parametrize("arguments", [{"city": "Paris", "days": 3, "exact": True}, {"list": ["a", 1, None]}, {}])
def test_what_llama_models_writes_is_read(form: Form, kind: ToolPromptFormat, arguments: Any) -> None:
    call = LlamaToolCall(call_id="1", tool_name="get_weather", arguments=arguments)
    text = ToolUtils.encode_tool_call(call, kind)
    assert ours(form, text) == [("call", "get_weather", json.dumps(arguments, sort_keys=True))]


@LLAMAS
def test_what_we_write_llama_models_reads(form: Form) -> None:
    text = form.written([FunctionCall(name="get_weather", arguments=PARIS)])
    assert decoded(form, text) == [("call", "get_weather", PARIS)]


@pytest.mark.parametrize(("form", "tokenizer"), [(LLAMA_3, Llama3Tokenizer), (LLAMA_4, Llama4Tokenizer)])
def test_a_mark_is_a_token_of_its_family(form: Form, tokenizer: Any) -> None:
    assert {form.mark, form.end} <= tokenizer.get_instance().special_tokens.keys()


class Family:
    """A tokenizer as far as a form is told by it."""

    def __init__(self, *added: str) -> None:
        self.added = added

    def get_added_vocab(self) -> dict[str, int]:
        return {token: place for place, token in enumerate(self.added)}


def test_the_form_is_told_by_the_tokenizer() -> None:
    assert form_of(Family(*Llama3Tokenizer.get_instance().special_tokens), "") is LLAMA_3
    assert form_of(Family(*Llama4Tokenizer.get_instance().special_tokens), "") is LLAMA_4
    assert form_of(Family("<|im_start|>"), "") is CHATML
    assert form_of(Family("<|python_tag|>"), "… <tool_call> …") is CHATML


def test_the_tools_are_told_as_json_with_an_example_of_a_call() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    text = CHATML.told([Function(name="get_weather", description="Of a city", parameters=schema), Function(name="now")])
    assert json.dumps({"name": "get_weather", "description": "Of a city", "parameters": schema}) in text
    assert '{"name": "now", "parameters": {"type": "object", "properties": {}}}' in text
    assert '<tool_call>\n{"name": "NAME", "arguments": {"PARAMETER": VALUE}}\n</tool_call>' in text
