"""`response_format`: by the model itself where it can, and otherwise by a tool whose input is the answer.

Format: https://platform.claude.com/docs/en/build-with-claude/structured-outputs
"""

from typing import Any

from apps.inference.providers.remote.anthropic.families import Family
from apps.inference.providers.remote.anthropic.tools import ANSWER, answer_tool, forces
from apps.inference.providers.unsupported import JSON, Lacks
from apps.inference.schemas import JsonSchemaFormat, OtherFormat, ResponseFormat
from llamastack.errors import BadRequest

# Keywords whose values are schemas by name, lists of schemas, and schemas.
BY_NAME = ("properties", "$defs", "definitions")
LISTED = ("anyOf", "oneOf", "prefixItems")  # what stands in `allOf` is part of one object, and stays open
WITHIN = ("items",)


def formatted(body: JSON, asked: ResponseFormat | None, family: Family, lacks: Lacks) -> str | None:
    """Put into a body how its answer is written. The name of the tool whose input is the answer, where there is one."""
    if asked is None or asked.type == "text":
        return None
    if isinstance(asked, OtherFormat):
        lacks.note("response_format")
        return None
    schema = asked.json_schema.json_schema if isinstance(asked, JsonSchemaFormat) else None
    if schema and family.follows_schemas and not any_object(schema):
        configure(body, "format", {"type": "json_schema", "schema": closed(schema)}, "response_format")
        return None
    if not family.can_be_forced:
        lacks.note("response_format", "This model follows schemas: give one, as type 'json_schema'.")
        return None
    return _by_tool(body, asked, schema)


def configure(body: JSON, name: str, value: Any, asked_as: str) -> None:
    """A field of `output_config`, where Anthropic's own words may stand already."""
    config = body.get("output_config", {})
    if not isinstance(config, dict) or name in config:
        told = f"'output_config.{name}' and '{asked_as}' say the same: give one of them."
        raise BadRequest(told, param="output_config")
    body["output_config"] = config | {name: value}


def _by_tool(body: JSON, asked: Any, schema: JSON | None) -> str | None:
    """Beside tools that may be called it answers or calls; a call that is forced leaves no room for an answer."""
    choice = body.get("tool_choice")
    if forces(choice):
        return None
    named = asked.json_schema if isinstance(asked, JsonSchemaFormat) else None
    known = {tool.get("name") for tool in body.get("tools", ())}
    name = named.name if named else ANSWER
    while name in known:
        name += "_"
    tool = answer_tool(name, named.description if named else None, schema or {})
    callable_tools = "tools" in body and (choice is None or choice["type"] != "none")
    body["tools"] = [*body.get("tools", ()), tool]
    if callable_tools:
        body["tool_choice"] = (choice or {}) | {"type": "any"}
    else:
        body["tool_choice"] = {"type": "tool", "name": name}
    return name


def closed(schema: Any) -> Any:
    """A schema whose objects take no other fields, which is all that Claude follows, and others on Bedrock.

    It is what OpenAI demands of strict schemas, and what fits it fits the schema as it was given.
    """
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    for name in BY_NAME:
        if isinstance(made.get(name), dict):
            made[name] = {key: closed(value) for key, value in made[name].items()}
    for name in LISTED:
        if isinstance(made.get(name), list):
            made[name] = [closed(value) for value in made[name]]
    for name in WITHIN:
        if name in made:
            made[name] = closed(made[name])
    if made.get("properties"):
        made.setdefault("additionalProperties", False)
    return made


def any_object(schema: JSON) -> bool:
    """Whether it says nothing of an object's fields, so that closing it would leave an empty one."""
    return schema.get("type") == "object" and not schema.get("properties")
