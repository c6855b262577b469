"""Constrained answers: on a tiny random model, which would say anything, and on the real small one."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from apps.inference.providers.inline.meta_reference.constraint import Grammars, refusal
from apps.inference.providers.inline.meta_reference.engine import Engine
from llamastack.errors import BadRequest, UnsupportedParameter
from llamastack.sampling import Constraint, Greedy, SamplingParams, TopK, TopP

PROMPT = [40, 41, 42]
END = "<|end|>"
WIDTH = 300  # more than the tokenizer has, as in many models
HOT = TopP(temperature=1.5)
BIT = {"type": "boolean"}
SCHEMAS: dict[str, Any] = {
    "object": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 8},
            "age": {"type": "integer", "minimum": 0, "maximum": 9},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    "optional properties": {
        "type": "object",
        "properties": {"a": BIT, "b": {"type": "null"}},
        "required": ["b"],
        "additionalProperties": False,
    },
    "nested": {
        "type": "object",
        "properties": {
            "list": {
                "type": "array",
                "maxItems": 2,
                "items": {
                    "type": "object",
                    "properties": {"on": BIT},
                    "required": ["on"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["list"],
        "additionalProperties": False,
    },
    "unicode": {
        "type": "object",
        "properties": {"größe": {"enum": ["日本", "☃"]}},
        "required": ["größe"],
        "additionalProperties": False,
    },
    "enum": {"enum": ["red", "grün", 3, None, {"a": [1]}]},
    "const": {"const": 'a\u0000"\\/é\U0001f600'},
    "array": {"type": "array", "items": BIT, "minItems": 2, "maxItems": 4},
    "prefixItems": {"type": "array", "prefixItems": [{"const": 1}, BIT], "items": False, "minItems": 2},
    "definitions": {
        "$ref": "#/$defs/pair",
        "$defs": {
            "colour": {"enum": ["red", "blue"]},
            "pair": {"type": "array", "items": {"$ref": "#/$defs/colour"}, "minItems": 2, "maxItems": 2},
        },
    },
    "anyOf": {
        "anyOf": [{"type": "integer", "minimum": 1, "maximum": 9}, {"pattern": "^[a-f]{2,4}$", "type": "string"}]
    },
    "allOf": {"allOf": [{"type": "integer", "minimum": 1}, {"maximum": 20}]},
    "date": {"type": "string", "format": "date"},
    "uuid": {"type": "string", "format": "uuid"},
    "ipv4": {"type": "string", "format": "ipv4"},
    "bounds": {"type": "integer", "exclusiveMinimum": -5, "exclusiveMaximum": 5},
    "multipleOf": {"type": "integer", "minimum": 0, "maximum": 90, "multipleOf": 15},
    "lengths": {"type": "string", "minLength": 3, "maxLength": 5},
    "two types": {"type": ["boolean", "null"]},
}
STRATEGIES = [Greedy(), HOT, TopK(5, 2.0, 0.9)]


def schema(given: Any) -> Constraint:
    return Constraint("json_schema", given if isinstance(given, str) else json.dumps(given), "response_format")


def regex(pattern: str) -> Constraint:
    return Constraint("regex", pattern, "structured_outputs.regex")


def grammar(text: str) -> Constraint:
    return Constraint("grammar", text, "structured_outputs.grammar")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """A token a byte, and an end."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=END, clean_up_tokenization_spaces=False)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=WIDTH,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.5,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


Start = Callable[..., Engine]


@pytest.fixture
def start(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Iterator[Start]:
    """Engines that are stopped when the test has ended."""
    engines: list[Engine] = []

    def started(**options: Any) -> Engine:
        ends = frozenset({tokenizer.eos_token_id})
        grammars = Grammars(tokenizer, WIDTH, ends)
        engine = Engine(model, **({"context": 512, "ends": ends, "grammars": grammars} | options))
        engine.start()
        engines.append(engine)
        return engine

    yield started
    for engine in engines:
        engine.stop()


Say = Callable[..., Any]


@pytest.fixture
def say(tokenizer: PreTrainedTokenizerFast) -> Say:
    """What an engine says under a constraint, and why it stopped."""

    async def said(engine: Engine, constraint: Constraint | None, **sampling: Any) -> tuple[str, str | None]:
        options = {"max_tokens": 200} | sampling
        generation = await engine.submit(PROMPT, SamplingParams(constraint=constraint, **options))
        tokens = [token async for token in generation]
        return tokenizer.decode(tokens, skip_special_tokens=True), generation.finish_reason

    return said


@pytest.mark.parametrize("name", SCHEMAS)
async def test_every_answer_fits_its_schema(start: Start, say: Say, name: str) -> None:
    engine = start()
    for strategy in STRATEGIES:
        text, reason = await say(engine, schema(SCHEMAS[name]), strategy=strategy, seed=3)
        assert reason == "stop", text
        jsonschema.validate(json.loads(text), SCHEMAS[name], format_checker=jsonschema.FormatChecker())


PATTERNS = [r"\d{3}-\d{4}", "yes|no", r"[a-c]{2,5}", "é{2}", "a\u0000/b", r"(\w/?){3}", "x", ""]


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_every_answer_matches_its_pattern(start: Start, say: Say, pattern: str) -> None:
    engine = start()
    for strategy in STRATEGIES:
        text, reason = await say(engine, regex(pattern), strategy=strategy, seed=5)
        assert reason == "stop"
        assert re.fullmatch(pattern, text, re.ASCII)


async def test_every_answer_derives_from_its_grammar(start: Start, say: Say) -> None:
    numbers = grammar('start: "tel " NUMBER (" ext " NUMBER)?\nNUMBER: /[0-9]{4}/')
    text, reason = await say(start(), numbers, strategy=HOT)
    assert reason == "stop"
    assert re.fullmatch(r"tel \d{4}( ext \d{4})?", text)


async def test_the_end_may_come_where_the_grammar_may_end_and_nowhere_else(
    start: Start, tokenizer: PreTrainedTokenizerFast
) -> None:
    wanting_to_end = ((tokenizer.eos_token_id, 100.0),)
    params = SamplingParams(constraint=regex("abc(de)?"), logit_bias=wanting_to_end, max_tokens=20)
    generation = await start().submit(PROMPT, params)
    tokens = [token async for token in generation]
    assert tokenizer.decode(tokens) == f"abc{END}"
    assert generation.finish_reason == "stop"


async def test_a_grammar_that_is_done_ends_without_another_token(start: Start, say: Say) -> None:
    assert await say(start(), regex("abc"), max_tokens=3) == ("abc", "stop")


async def test_max_tokens_may_cut(start: Start, say: Say) -> None:
    assert await say(start(), regex("abcdef"), max_tokens=4) == ("abcd", "length")


async def test_no_answer_begins_to_consist_of_blanks(
    start: Start, say: Say, tokenizer: PreTrainedTokenizerFast
) -> None:
    blanks = tuple((tokenizer.convert_tokens_to_ids(letter), 100.0) for letter in ("Ġ", "Ċ", "ĉ"))
    text, reason = await say(start(), schema(SCHEMAS["nested"]), logit_bias=blanks, max_tokens=500)
    assert reason == "stop"
    assert json.loads(text)["list"] is not None


async def test_free_rows_are_what_they_would_be_alone(start: Start, say: Say) -> None:
    engine = start()
    free = [{"max_tokens": 40}, {"max_tokens": 40, "strategy": HOT, "seed": 4}]
    alone = [await say(engine, None, **options) for options in free]
    bound = schema(SCHEMAS["object"])
    bound_alone = await say(engine, bound, strategy=HOT, seed=9)
    together = [say(engine, None, **free[0]), say(engine, bound, strategy=HOT, seed=9), say(engine, None, **free[1])]
    first, constrained, second = await asyncio.gather(*together)
    assert [first, second] == alone
    assert constrained == bound_alone


async def test_a_constraint_is_compiled_once_and_each_generation_follows_it_by_itself(start: Start, say: Say) -> None:
    engine = start()
    answers = await asyncio.gather(*(say(engine, regex("[a-z]{8}"), strategy=HOT, seed=seed) for seed in range(6)))
    assert len(set(answers)) == 6
    assert all(re.fullmatch("[a-z]{8}", text) for text, _ in answers)


def objects(count: int) -> str:
    """Definitions that refer each to the next."""
    links = {f"d{i}": {"type": "object", "properties": {"x": {"$ref": f"#/$defs/d{i + 1}"}}} for i in range(count)}
    return json.dumps({"$ref": "#/$defs/d0", "$defs": links | {f"d{count}": {"type": "string"}}})


UNUSABLE = {
    "no type": schema({"type": "strin"}),
    "unsupported keyword": schema({"type": "array", "uniqueItems": True}),
    "unknown format": schema({"type": "string", "format": "poem"}),
    "remote reference": schema({"$ref": "https://example.com/schema"}),
    "dangling reference": schema({"$ref": "#/$defs/none"}),
    "reference to itself": schema({"$ref": "#"}),
    "unsatisfiable": schema({"type": "object", "properties": {"a": False}, "required": ["a"]}),
    "never": schema("false"),
    "empty range": schema({"type": "integer", "minimum": 5, "maximum": 3}),
    "look-around": regex("(?=a)b"),
    "backward reference": regex(r"(a)\1"),
    "unclosed group": regex("(a"),
    "matches nothing": regex(r"[^\s\S]"),
    "nested groups": regex("(" * 4000 + "a" + ")" * 4000),
    "no start": grammar('first: "a"'),
    "unknown rule": grammar('start: "a" b'),
    "another dialect": grammar('root ::= "a"'),
    "endless": grammar("start: start"),
    "empty": grammar(""),
    "a thousand levels": schema(objects(3000)),
    "a long chain of rules": grammar("\n".join(f'r{i}: "a" r{i + 1}' for i in range(4000)) + '\nr4000: "b"\nstart: r0'),
    "states without number": schema({"type": "integer", "multipleOf": 7_654_321}),
    "an embedded schema": grammar('start: %json {"type": "integer", "multipleOf": 7654321}'),
    "an intersection": schema({"allOf": [{"pattern": f".*{letter}.{{9}}.*"} for letter in "abcdefghijklmnopqrst"]}),
}


@pytest.mark.parametrize("name", UNUSABLE)
async def test_an_unusable_constraint_is_refused_and_the_engine_lives(start: Start, say: Say, name: str) -> None:
    engine = start()
    with pytest.raises(BadRequest) as refused:
        await engine.submit(PROMPT, SamplingParams(constraint=UNUSABLE[name]))
    assert refused.value.param == UNUSABLE[name].field
    assert len(refused.value.message) < 500
    assert await say(engine, regex("ok")) == ("ok", "stop")


def test_a_refusal_says_what_is_wrong_and_shows_no_grammar_of_ours() -> None:
    flaw = "at 4(14): no Pointer '/x'\n   2 | call: ours\n   3 | start: body\n      ^\n"
    assert refusal("tools", flaw).message == "'tools' cannot be followed: no Pointer '/x'."
    assert "call: ours" in refusal("structured_outputs.grammar", flaw).message  # the client's own, so the place helps


EXPLODE_ELSEWHERE = ["(a{1,1000}){1,1000}", "(((a*)*)*)*b", "(a|a)*b", "|".join(map(str, range(1500)))]


@pytest.mark.parametrize("pattern", EXPLODE_ELSEWHERE, ids=range(4))
async def test_patterns_that_explode_elsewhere_are_followed(start: Start, say: Say, pattern: str) -> None:
    assert (await say(start(), regex(pattern), strategy=HOT, seed=1, max_tokens=40))[1] in ("stop", "length")


async def test_a_generation_whose_grammar_becomes_too_complex_fails_alone(start: Start, say: Say) -> None:
    engine = start()
    free = asyncio.create_task(say(engine, None, max_tokens=60))
    with pytest.raises(BadRequest, match=r"structured_outputs\.regex"):
        await say(engine, regex("[ab]{5}(a?){3000}a{3000}"), strategy=HOT, seed=1, max_tokens=400)
    assert (await free)[1] == "length"
    assert await say(engine, regex("ok")) == ("ok", "stop")


async def test_a_generation_that_failed_spoils_its_constraint_for_nobody_after_it(start: Start, say: Say) -> None:
    engine, fails = start(), regex("[ab]{5}(c|(a?){3000}a{3000})")
    never_c = ((66, -100.0),)
    with pytest.raises(BadRequest):
        await say(engine, fails, logit_bias=never_c, max_tokens=20)
    assert (await say(engine, fails, logit_bias=((66, 100.0),), max_tokens=6))[1] == "stop"


async def test_without_grammars_a_constraint_is_unsupported(start: Start) -> None:
    with pytest.raises(UnsupportedParameter):
        await start(grammars=None).submit(PROMPT, SamplingParams(constraint=regex("a")))


async def test_the_loop_turns_while_a_constraint_is_compiled(start: Start) -> None:
    engine, turns = start(), 0
    compiling = asyncio.create_task(engine.submit(PROMPT, SamplingParams(constraint=UNUSABLE["states without number"])))
    while not compiling.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert isinstance(compiling.exception(), BadRequest)
    assert turns > 5
