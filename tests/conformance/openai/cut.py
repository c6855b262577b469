"""Cuts OpenAI's specification down to the operations that we serve, and to the schemas that they reach.

    python -m tests.conformance.openai.cut openapi.yaml

openapi.yaml is the one of github.com/openai/openai-openapi (MIT licence). Words for readers are left out, and what it
says in the way of OpenAPI 3.0 (`nullable`) is said in that of the 3.1 that it declares.
"""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("specification.json")
PATHS = [
    "/chat/completions",
    "/chat/completions/{completion_id}",
    "/chat/completions/{completion_id}/messages",
    "/completions",
    "/embeddings",
    "/models",
    "/models/{model}",
    "/vector_stores",
    "/vector_stores/{vector_store_id}",
    "/vector_stores/{vector_store_id}/file_batches",
    "/vector_stores/{vector_store_id}/file_batches/{batch_id}",
    "/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel",
    "/vector_stores/{vector_store_id}/file_batches/{batch_id}/files",
    "/vector_stores/{vector_store_id}/files",
    "/vector_stores/{vector_store_id}/files/{file_id}",
    "/vector_stores/{vector_store_id}/files/{file_id}/content",
    "/vector_stores/{vector_store_id}/search",
]
WORDS = {"description", "summary", "example", "examples", "title", "security", "deprecated"}


def mended(components: dict[str, Any]) -> dict[str, Any]:
    """The components without three slips: what OpenAI answers differs from them.

    The messages of a stored completion are the request's (their content_parts may have images, which no assistant
    sends), a streamed completion has no reason to finish before its end, and a vector store that does not expire has
    an `expires_after` of null. Its metadata may hold what Llama Stack's may: numbers and booleans, too.
    """
    schemas = components["schemas"]
    messages = schemas["ChatCompletionMessageList"]["properties"]["data"]["items"]
    messages["allOf"][0] = copy.deepcopy(schemas["ChatCompletionResponseMessage"])
    messages["allOf"][0]["properties"]["role"] = {"type": "string"}
    choice = schemas["CreateCompletionResponse"]["properties"]["choices"]["items"]["properties"]
    choice["finish_reason"] = nullable(choice["finish_reason"])
    store = schemas["VectorStoreObject"]["properties"]
    store["expires_after"] = nullable(store["expires_after"])
    store["metadata"] = {"type": "object"}
    return components


def cut(whole: dict[str, Any]) -> dict[str, Any]:
    paths = {path: without_words(whole["paths"][path]) for path in PATHS}
    components: dict[str, dict[str, Any]] = {}
    for reference in (waiting := references(paths)):
        _, _, section, name = reference.split("/")
        if name not in components.setdefault(section, {}):
            components[section][name] = without_words(whole["components"][section][name])
            waiting += references(components[section][name])
    info = {name: whole["info"][name] for name in ("title", "version", "license")}
    return {"openapi": whole["openapi"], "info": info, "paths": paths, "components": mended(components)}


def without_words(node: Any, named: bool = False) -> Any:
    """The node without what only readers need. The keys of `properties` are names, whatever they are called."""
    if isinstance(node, list):
        return [without_words(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if named or not (key in WORDS or key.startswith("x-"))}
    cut = {key: without_words(value, key == "properties" and not named) for key, value in kept.items()}
    return nullable(cut) if not named and cut.pop("nullable", False) else cut


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def references(node: Any) -> list[str]:
    """What a node refers to, as `#/components/schemas/Name`."""
    if isinstance(node, list):
        return [found for item in node for found in references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return own + [found for value in node.values() for found in references(value)]


if __name__ == "__main__":
    FILE.write_text(json.dumps(cut(yaml.safe_load(Path(sys.argv[1]).read_text())), indent=1, sort_keys=True) + "\n")
