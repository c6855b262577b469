"""Writes docs/providers.md from the specs and config classes of the providers: `make docs`."""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from llamastack.apis import SERVED, Api
from llamastack.egress.network import NetworkConfig
from llamastack.providers import Provider, ProviderSpec, load, specs

FILE = Path(__file__).with_name("providers.md")
HEAD = """# Providers

What each provider may be told in a run.yaml or in the admin's form, made from its config class by `make docs`.
[Adding a provider](adding-a-provider.md) says how to write another.
"""
BOUNDS = {"minimum": "≥ ", "exclusiveMinimum": "> ", "maximum": "≤ ", "exclusiveMaximum": "< "}
NAMES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "object",
}


def page() -> str:
    """The page as it should be."""
    apis = [api for api, info in SERVED.items() if info.has_providers]
    return "\n".join([HEAD, *(line for api in apis for line in _api(api)), *_network()])


def _network() -> list[str]:
    """The section that all remote providers have, once."""
    schema = NetworkConfig.model_json_schema()
    lines = ["## network\n", "The section of that name, in every remote provider's config. [Examples](network.md).\n"]
    lines += ["| field | type | default | meaning |", "|---|---|---|---|"]
    return [*lines, *_inside(schema, schema["$defs"], ""), ""]


def _inside(schema: dict[str, Any], defs: dict[str, Any], before: str) -> Iterator[str]:
    for name, field in schema["properties"].items():
        below = [option["$ref"] for option in field.get("anyOf", ()) if "$ref" in option]
        if below:
            yield from _inside(defs[below[0].rpartition("/")[2]], defs, f"{before}{name}.")
        else:
            yield _field(f"{before}{name}", field, False, defs, [])


def _api(api: Api) -> list[str]:
    found = specs(api)
    overview = ["| type | kind | packages |", "|---|---|---|"]
    for name, spec in found.items():
        overview.append(f"| [`{name}`](#{_anchor(name, api)}) | {spec.kind} | {_packages(spec)} |")
    return [f"## {api}\n", *overview, "", *(section for spec in found.values() for section in _provider(spec))]


def _anchor(provider_type: str, api: Api) -> str:
    """As GitHub names it: a type that an API before this one has too is a heading of the same text."""
    apis = [other for other, info in SERVED.items() if info.has_providers]
    before = sum(provider_type in specs(other) for other in apis[: apis.index(api)])
    return provider_type.replace(":", "") + (f"-{before}" if before else "")


def _packages(spec: ProviderSpec) -> str:
    return f"{', '.join(spec.pip_packages)} (`{spec.requirements}`)" if spec.pip_packages else "none"


def _provider(spec: ProviderSpec) -> list[str]:
    provider = load(spec)
    lines = [f"### {spec.provider_type}\n", *_words(provider, spec)]
    schema = provider.config_class.model_json_schema()
    fields = schema.get("properties", {})
    if fields:
        lines += ["| field | type | default | meaning |", "|---|---|---|---|"]
        required = schema.get("required", [])
        others = provider.config_class.other_names
        for name, field in fields.items():
            also = [other for other, own in others.items() if own == name]
            lines.append(_field(name, field, name in required, schema.get("$defs", {}), also))
        lines.append("")
    return [*lines, *_sample(provider, spec)]


def _words(provider: type[Provider], spec: ProviderSpec) -> list[str]:
    """The first sentences of its file and of its class, and what an operator must know."""
    texts = [inspect.getmodule(provider).__doc__ if spec.kind == "remote" else None, provider.__doc__]
    told = [inspect.cleandoc(text).split("\n\n")[0] + "\n" for text in texts if text]
    if spec.exclusive:
        told.append("It keeps its state in one process: the server runs it with one worker.\n")
    return told


def _field(name: str, field: dict[str, Any], required: bool, defs: dict[str, Any], others: list[str]) -> str:
    default = "required" if required else _value(field.get("default"))
    meaning = str(field.get("description", "")).replace("|", "\\|")
    if others:
        meaning += f" (also {', '.join(_value(other) for other in others)})"
    return f"| `{name}` | {_kind(field, defs)} | {default} | {meaning} |"


def _value(value: Any) -> str:
    return "" if value in (None, "") else f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _kind(field: dict[str, Any], defs: dict[str, Any]) -> str:
    """A field's type in words, with its bounds."""
    if field.get("$ref") == "#/$defs/NetworkConfig":
        return "[section](#network)"
    if "$ref" in field:
        return _kind(defs[field["$ref"].rpartition("/")[2]], defs)
    if "anyOf" in field:
        return " or ".join(_kind(option, defs) for option in field["anyOf"] if option.get("type") != "null")
    if "enum" in field or "const" in field:
        return ", ".join(_value(value) for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}), defs)}"
    if field.get("format") == "password":
        return "secret"
    bounds = [f"{sign}{field[name]}" for name, sign in BOUNDS.items() if name in field]
    return ", ".join([NAMES.get(str(field.get("type")), "object"), *bounds])


def _sample(provider: type[Provider], spec: ProviderSpec) -> list[str]:
    entry = {
        "provider_id": spec.provider_type.partition("::")[2],
        "provider_type": spec.provider_type,
        "config": provider.config_class.sample_run_config(),
    }
    written = yaml.safe_dump({"providers": {str(spec.api): [entry]}}, sort_keys=False).rstrip()
    return [f"```yaml\n{written}\n```\n"]


if __name__ == "__main__":
    FILE.write_text(page())
