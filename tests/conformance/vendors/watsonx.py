"""IBM's watsonx.ai: chats are OpenAI's but for some names; completions, embeddings and rankings are its own."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from tests.conformance.vendors.native import needed, only
from tests.conformance.vendors.vendor import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    JSON,
    KEY,
    RERANK,
    USAGE,
    Answer,
    Asking,
    NotUnderstood,
    Ranking,
    Vendor,
)

PATHS = {
    "/ml/v1/text/chat": Asking(CHAT, stream=False),
    "/ml/v1/text/chat_stream": Asking(CHAT, stream=True),
    "/ml/v1/text/generation": Asking(COMPLETIONS, stream=False),
    "/ml/v1/text/generation_stream": Asking(COMPLETIONS, stream=True),
    "/ml/v1/text/embeddings": Asking(EMBEDDINGS),
    "/ml/v1/text/rerank": Asking(RERANK),
}
WHOSE = ("model_id", "project_id")
CHATS = (
    *("messages", "tools", "tool_choice", "tool_choice_option", "max_tokens", "max_completion_tokens", "n", "seed"),
    *("stop", "temperature", "top_p", "response_format", "logprobs", "top_logprobs", "frequency_penalty"),
    *("presence_penalty", "logit_bias", "reasoning_effort", "include_reasoning", "time_limit"),
)
AS_OPENAI = set(CHATS) - {"messages", "tool_choice_option", "include_reasoning", "time_limit"}
REASONS = {"stop": "eos_token", "length": "max_tokens"}
LISTED = {"model_id": "ibm/sky", "functions": [{"id": "text_chat"}, {"id": "text_generation"}]}
IDENTITY = "/identity/token"


def failure(status: int, code: str, message: str) -> tuple[int, Any]:
    return status, {"errors": [{"code": code, "message": message}], "trace": "9c4e", "status_code": status}


@dataclass(frozen=True)
class WatsonX(Vendor):
    def config_at(self, url: str, key: str = KEY) -> JSON:
        return {"base_url": url, "api_key": key, "project_id": "p1", "iam_url": url + IDENTITY}

    def aside(self, path: str, body: bytes) -> tuple[int, Any] | None:
        """IBM Cloud's tokens; one for a key that watsonx.ai does not let in is issued too."""
        if path != IDENTITY:
            return None
        form = parse_qs(body.decode())
        if form.get("grant_type") != ["urn:ibm:params:oauth:grant-type:apikey"]:
            return 400, {"errorCode": "BXNIM0109E", "errorMessage": "Property missing or empty: grant_type"}
        return 200, {"access_token": f"token-of-{form['apikey'][0]}", "token_type": "Bearer", "expires_in": 3600}

    def asking(self, path: str, query: Mapping[str, str]) -> Asking | None:
        dated = query.keys() == {"version"} and re.fullmatch(r"\d{4}-\d{2}-\d{2}", query["version"])
        return PATHS.get(path) if dated else None

    def question(self, operation: str, body: JSON) -> JSON:
        if body.get("project_id") != "p1":
            raise NotUnderstood("Either space_id or project_id is required")
        asked = {"model": needed(body, "model_id", str)}
        match operation:
            case "embeddings":
                return asked | {"input": needed(only(body, *WHOSE, "inputs"), "inputs", list)}
            case "rerank":
                return asked | _ranking(only(body, *WHOSE, "query", "inputs", "parameters"))
            case "completions":
                return asked | _generation(only(body, *WHOSE, "input", "parameters"))
        given = {name: value for name, value in only(body, *WHOSE, *CHATS).items() if name not in WHOSE}
        if "tool_choice_option" in given:
            given["tool_choice"] = given.pop("tool_choice_option")
        return super().question(operation, asked | given)

    def whole(self, answer: Answer) -> JSON:
        if answer.chat:
            return super().whole(answer)
        return _generated(answer, answer.text, REASONS[answer.reason], USAGE["completion_tokens"], 5)

    def events(self, answer: Answer) -> list[JSON]:
        if answer.chat:
            *chunks, last = super().events(answer)
            return [*chunks, last | {"usage": USAGE}]
        begun = _generated(answer, "", "not_finished", 0, USAGE["prompt_tokens"])
        words = [_generated(answer, word, "not_finished", n, 0) for n, word in enumerate(answer.words, 1)]
        ended = _generated(answer, "", REASONS[answer.reason], USAGE["completion_tokens"], 0)
        return [begun, *words, ended]

    def encoded(self, event: JSON) -> bytes:
        """The usage follows the last end at once, in an event of its own."""
        if "usage" not in event:
            return super().encoded(event)
        ended = {name: value for name, value in event.items() if name != "usage"}
        return super().encoded(ended) + super().encoded(event | {"choices": []})

    def vectors(self, body: JSON, vectors: list[list[float]]) -> JSON:
        results = [{"embedding": vector} for vector in vectors]
        return {"model_id": body["model"], "results": results, "input_token_count": 3}


def _ranking(body: JSON) -> JSON:
    options = body.get("parameters", {}).get("return_options", {})
    return {"query": body["query"], "inputs": [only(one, "text")["text"] for one in body["inputs"]], **options}


def _generation(body: JSON) -> JSON:
    known = ("decoding_method", "max_new_tokens", "temperature", "top_p", "stop_sequences", "include_stop_sequence")
    parameters = only(body["parameters"], *known, "random_seed")
    return {"prompt": needed(body, "input", str), "max_tokens": parameters["max_new_tokens"]}


def _generated(answer: Answer, said: str, reason: str, tokens: int, prompt: int) -> JSON:
    counted = {"generated_token_count": tokens, "input_token_count": prompt}
    result = {"generated_text": said, "stop_reason": reason, **counted}
    return {"model_id": answer.model, "created_at": "2025-06-24T15:30:13.500Z", "results": [result]}


WATSONX = WatsonX(
    "remote::watsonx",
    "https://cloud.ibm.com/apidocs/watsonx-ai, https://github.com/IBM/watsonx-ai-java-sdk (the bodies of its tests)",
    authorization=("Authorization", "Bearer token-of-{key}"),
    model="ibm/sky",
    head={"model_version": "4.0.0", "created_at": "2025-06-12T13:47:35.541Z"},
    noise=b"id: 1\nevent: message\n",
    usage="always",
    places={
        **{name: (name,) for name in CHATS if name in AS_OPENAI},
        "tool_choice": ("tool_choice_option",),
        **dict.fromkeys(("messages.content.input_audio", "messages.name"), ("messages",)),
    },
    done=False,
    developer=False,
    ranking=Ranking("/ml/v1/text/rerank", "inputs", score="score"),
    told={
        "/ml/v1/foundation_model_specs": {"resources": [{"model_id": "ibm/sky", "functions": [{"id": "text_chat"}]}]}
    },
    unauthorized=failure(401, "authentication_token_not_valid", "Failed to authenticate the request."),
    unknown_model=failure(404, "model_not_supported", "Model 'ibm/unknown' is not supported for this environment."),
    too_many=failure(429, "rate_limit_reached_requests", "Rate limit reached for requests."),
    failure=failure(500, "internal_error", "The server had an error."),
    broken=failure(500, "model_inference_error", "It ran out of memory.")[1],
)
