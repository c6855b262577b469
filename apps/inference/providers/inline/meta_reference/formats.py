"""What form a request wants its answer to have, as a constraint: OpenAI's `response_format`, and vLLM's extra fields.

vLLM's are `structured_outputs: {"json" | "regex" | "choice" | "grammar": …}`, and in older versions `guided_json` and
the like (https://docs.vllm.ai/en/latest/features/structured_outputs/).
"""

import json
import re
from collections.abc import Callable
from typing import Any

from apps.inference.schemas import GenerationRequest, JsonSchemaFormat, OtherFormat, ResponseFormat
from llamastack.bodies import depth
from llamastack.errors import BadRequest, UnsupportedParameter
from llamastack.sampling import Constraint

STRUCTURED = "structured_outputs"
MAX_SCHEMA = 200_000  # characters, as is MAX_GRAMMAR
MAX_GRAMMAR = 65_536
MAX_REGEX = 8_192
MAX_CHOICES = 1_000
MAX_DEPTH = 100  # of lists and objects in each other; llguidance reads 128
ANY_OBJECT = '{"type":"object"}'
OPTIONS = "x-guidance"  # llguidance's own settings in a schema, which are ours to make


def constraint(request: GenerationRequest, provider: str) -> Constraint | None:
    """None where any text will do. Raises BadRequest, with the field at fault."""
    found = [*_response_format(request.response_format, provider), *_extras(request.model_extra or {}, provider)]
    if len(found) > 1:
        names = " and ".join(f"'{one.field}'" for one in found)
        raise BadRequest(f"{names} contradict each other: an answer can follow one of them.", param=found[1].field)
    return found[0] if found else None


def _response_format(form: ResponseFormat | None, provider: str) -> list[Constraint]:
    field = "response_format"
    if isinstance(form, OtherFormat):
        raise UnsupportedParameter(field, provider, f"It knows no '{form.type}'; use json_schema, or {STRUCTURED}.")
    if isinstance(form, JsonSchemaFormat):
        schema = form.json_schema.json_schema
        return [_any_object(field) if schema is None else _json(schema, f"{field}.json_schema.schema")]
    return [_any_object(field)] if form is not None and form.type == "json_object" else []


def _extras(extra: dict[str, Any], provider: str) -> list[Constraint]:
    found = [MAKERS[kind](extra[name], name) for name, kind in GUIDED.items() if extra.get(name) is not None]
    return found + _structured_outputs(extra.get(STRUCTURED), provider)


def _structured_outputs(given: Any, provider: str) -> list[Constraint]:
    if given is None:
        return []
    if not isinstance(given, dict):
        raise BadRequest(f"'{STRUCTURED}' must be an object with one of: {', '.join(MAKERS)}.", param=STRUCTURED)
    wanted = {name: value for name, value in given.items() if value not in (None, False)}
    if unknown := sorted(wanted.keys() - MAKERS.keys()):
        raise UnsupportedParameter(f"{STRUCTURED}.{unknown[0]}", provider, f"It knows {', '.join(MAKERS)}.")
    return [MAKERS[name](value, f"{STRUCTURED}.{name}") for name, value in wanted.items()]


def _json(schema: Any, field: str) -> Constraint:
    """A schema, given as an object or as text."""
    try:
        read = json.loads(_text(schema, field, MAX_SCHEMA)) if isinstance(schema, str) else schema
        own = {key: value for key, value in read.items() if key != OPTIONS} if isinstance(read, dict) else read
        text = json.dumps(own, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except RecursionError as error:
        raise _too_deep(field) from error
    except ValueError as error:
        raise BadRequest(f"'{field}' is not JSON: {error}.", param=field) from error
    if not isinstance(own, dict | bool):
        raise BadRequest(f"'{field}' must be a JSON schema: an object.", param=field)
    text = _text(text, field, MAX_SCHEMA)
    if depth(own) > MAX_DEPTH:
        raise _too_deep(field)
    return Constraint("json_schema", text, field)


def _too_deep(field: str) -> BadRequest:
    return BadRequest(f"'{field}' is nested too deeply: more than {MAX_DEPTH} levels.", param=field)


def _any_object(field: str) -> Constraint:
    return Constraint("json_schema", ANY_OBJECT, field)


def _json_object(wanted: Any, field: str) -> Constraint:
    if wanted is not True:
        raise BadRequest(f"'{field}' must be true or false.", param=field)
    return _any_object(field)


def _regex(pattern: Any, field: str) -> Constraint:
    return Constraint("regex", _text(pattern, field, MAX_REGEX), field)


def _choice(choices: Any, field: str) -> Constraint:
    """One of these texts."""
    if not isinstance(choices, list) or not 0 < len(choices) <= MAX_CHOICES:
        raise BadRequest(f"'{field}' must be a list of 1 to {MAX_CHOICES} texts.", param=field)
    pattern = "|".join(re.escape(_text(choice, field, MAX_GRAMMAR)) for choice in choices)
    return Constraint("regex", _text(pattern, field, MAX_GRAMMAR), field)


def _grammar(grammar: Any, field: str) -> Constraint:
    return Constraint("grammar", _text(grammar, field, MAX_GRAMMAR), field)


def _text(value: Any, field: str, longest: int) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"'{field}' must be text.", param=field)
    if len(value) > longest:
        raise BadRequest(f"'{field}' has {len(value)} characters; the limit is {longest}.", param=field)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadRequest(f"'{field}' has half of a character (a lone surrogate).", param=field) from error
    return value


MAKERS: dict[str, Callable[[Any, str], Constraint]] = {
    "json": _json,
    "json_object": _json_object,
    "regex": _regex,
    "choice": _choice,
    "grammar": _grammar,
}
GUIDED = {f"guided_{kind}": kind for kind in ("json", "regex", "choice", "grammar")}
FIELDS = frozenset({STRUCTURED, *GUIDED})
