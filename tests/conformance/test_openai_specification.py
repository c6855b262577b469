"""OpenAI's own specification drives the server: whatever it is asked, it does not fail, and answers in its shapes."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from tests.conformance.openai.cut import FILE
from tests.live import EMBEDDING, Live

pytestmark = [pytest.mark.local_model, pytest.mark.slow]

SEED = 8321
EXAMPLES = 60
FEWER = 10  # of each operation of vector stores, of which there are many
CHAT = "SmolLM2-135M-Instruct"
FAST = "openai/sky-1"
MODELS = {"/embeddings": ["all-MiniLM-L6-v2", EMBEDDING]}
CHECKS = [not_a_server_error, response_schema_conformance, content_type_conformance]
# What the small model would take long over. Values that are not numbers are left as they are.
BOUNDS = {"max_tokens": 3, "max_completion_tokens": 3, "n": 3, "best_of": 3}

generation = {"max-examples": EXAMPLES, "deterministic": True, "database": "none", "with-security-parameters": False}
of_stores = {"include-path-regex": "^/vector_stores", "generation": generation | {"max-examples": FEWER}}
specification = json.loads(FILE.read_text())
schema = schemathesis.openapi.from_dict(
    specification,
    # It would read twenty events of a stream, and miss how it ends.
    config=SchemathesisConfig.from_dict(
        {"seed": SEED, "generation": generation, "max-stream-events": 100_000, "operations": [of_stores]}
    ),
)


@dataclass
class Target:
    """The server, and what is there: stored completions, a vector store, and a batch of the one file in it."""

    url: str
    session: requests.Session
    stored: list[str] = field(default_factory=list)
    there: dict[str, str] = field(default_factory=dict)

    def store(self) -> str:
        body = {"model": FAST, "messages": [{"role": "user", "content": "Hello"}], "store": True}
        return str(self.session.post(f"{self.url}/chat/completions", json=body).json()["id"])

    def vector_store(self) -> str:
        return str(self.session.post(f"{self.url}/vector_stores", json={"embedding_model": EMBEDDING}).json()["id"])

    def fill(self) -> None:
        files = {"file": ("sky.txt", b"The sky is blue.")}
        file = self.session.post(f"{self.url}/files", files=files, data={"purpose": "assistants"}).json()["id"]
        store = self.vector_store()
        batches = f"{self.url}/vector_stores/{store}/file_batches"
        batch = self.session.post(batches, json={"file_ids": [file]}).json()["id"]
        self.there = {"vector_store_id": store, "file_id": file, "batch_id": batch}
        while self.session.get(f"{batches}/{batch}").json()["status"] == "in_progress":
            time.sleep(0.05)


@pytest.fixture(scope="module")
def target(starter: Live) -> Iterator[Target]:
    with requests.Session() as session:
        session.trust_env = False
        target = Target(f"{starter.url}/v1", session)
        target.stored = [target.store() for _ in range(3)]
        target.fill()
        yield target


def component(name: str) -> jsonschema_rs.Validator:
    """A schema of the specification by its name."""
    return jsonschema_rs.validator_for(
        {"$ref": f"#/components/schemas/{name}", "components": specification["components"]}
    )


ERROR = component("ErrorResponse")
CHUNKS = {
    "/chat/completions": component("CreateChatCompletionStreamResponse"),
    "/completions": component("CreateCompletionResponse"),
}


def test_the_shapes_tell_wrong_from_right() -> None:
    """Or else all that follows would say nothing."""
    assert ERROR.is_valid({"error": {"message": "m", "type": "t", "param": None, "code": None}})
    assert not ERROR.is_valid({"error": {"message": "m"}})
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
    choice = {"index": 0, "delta": {}, "finish_reason": None}
    assert CHUNKS["/chat/completions"].is_valid(chunk | {"choices": [choice]})
    assert not CHUNKS["/chat/completions"].is_valid(chunk | {"choices": [choice | {"finish_reason": "tired"}]})


def made_ours(case: Any, target: Target) -> None:
    """Name what there is, most of the time, and ask for little."""
    turn = len(repr(case.body)) + len(repr(case.path_parameters))
    places = case.path_parameters or {}
    if "completion_id" in places and turn % 4:
        places["completion_id"] = target.store() if case.method == "DELETE" else target.stored[turn % 3]
    if "model" in places and turn % 4:
        places["model"] = CHAT
    if "vector_store_id" in places and turn % 8:
        places |= {name: target.there[name] for name in places}
        if case.method == "DELETE" and case.path == "/vector_stores/{vector_store_id}":
            places["vector_store_id"] = target.vector_store()
    if isinstance(case.body, dict) and case.path.startswith("/vector_stores/") and turn % 4:
        case.body |= {name: [target.there["file_id"]] for name in ("file_ids",) if name in case.body}
        case.body |= {name: target.there["file_id"] for name in ("file_id",) if name in case.body}
    if isinstance(case.body, dict) and "model" in case.body and turn % 8:
        bounded(case, turn)


def bounded(case: Any, turn: int) -> None:
    models = MODELS.get(case.path, [CHAT, FAST])
    case.body["model"] = models[turn % 2]
    for name, bound in BOUNDS.items():
        if isinstance(given := case.body.get(name), int) and given > bound:
            case.body[name] = bound
    if case.path in CHUNKS:
        case.body.setdefault("max_tokens", 3)
        case.body.setdefault("stream", turn % 3 == 0)


@schema.parametrize()
@settings(derandomize=True, suppress_health_check=list(HealthCheck))
@pytest.mark.timeout(300)
def test_what_the_specification_allows_or_forbids_is_answered_in_its_shapes(case: Any, target: Target) -> None:
    made_ours(case, target)
    response = case.call(base_url=target.url, session=target.session)
    if response.headers["content-type"] == ["text/event-stream"]:
        check_stream(case.path, response.text)
        return
    case.validate_response(response, checks=CHECKS)
    if response.status_code >= 400:
        ERROR.validate(response.json())


def check_stream(path: str, text: str) -> None:
    *chunks, last = [event.removeprefix("data: ") for event in text.split("\n\n") if event]
    for chunk in chunks:
        CHUNKS[path].validate(json.loads(chunk))
    if last != "[DONE]":
        ERROR.validate(json.loads(last))
