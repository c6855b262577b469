"""Vendors that host models: OpenAI's dialect with additions of their own."""

from tests.conformance.vendors.vendor import CHAT, COMPLETIONS, EMBEDDINGS, MAX_TOKENS_ALONE, Ranking, Vendor

FILTERED = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}


def openai_error(message: str, kind: str, code: str | None = None, param: str | None = None) -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


OPENAI = Vendor(
    "remote::openai",
    "https://platform.openai.com/docs/api-reference/chat/streaming",
    head={"id": "chatcmpl-B9MBs8", "system_fingerprint": "fp_44709d6fcb", "service_tier": "default"},
    chunk={"usage": None, "obfuscation": "xYz"},
    choice={"logprobs": None},
    chunk_choice={"logprobs": None},
    extras={"completion_tokens_details": {"reasoning_tokens": 0}},
    unauthorized=(
        401,
        openai_error("Incorrect API key provided: sk-***.", "invalid_request_error", "invalid_api_key"),
    ),
    too_many=(429, openai_error("Rate limit reached for sky.", "tokens", "rate_limit_exceeded")),
)

LLAMA = Vendor("remote::llama-openai-compat", "https://llama.developer.meta.com/docs/features/compatibility")

GROQ = Vendor(
    "remote::groq",
    "https://console.groq.com/docs/api-reference#chat-create, groq/groq-python types/chat/chat_completion_chunk.py",
    prefix="/openai/v1",
    several=False,
    head={"system_fingerprint": "fp_179b0f92c9", "x_groq": {"id": "req_01jbd6g2qdfw2adyrt2az8hz4w"}},
    choice={"logprobs": None},
    chunk_choice={"logprobs": None},
    extras={"queue_time": 0.037, "prompt_time": 0.0007, "completion_time": 0.46, "total_time": 0.4607},
    unauthorized=(401, openai_error("Invalid API Key", "invalid_request_error", "invalid_api_key")),
    unknown_model=(404, openai_error("The model `unknown` does not exist", "invalid_request_error", "model_not_found")),
)

CEREBRAS = Vendor(
    "remote::cerebras",
    "https://inference-docs.cerebras.ai/api-reference/chat-completions, …/support/error",
    offers=frozenset({CHAT, COMPLETIONS}),
    developer=False,
    head={"system_fingerprint": "fp_c5ec625e72d41732ea0b", "time_info": {"queue_time": 0.0002, "created": 1.75e9}},
    usage="with the end",
    extras={"prompt_tokens_details": {"cached_tokens": 0}},
    # No `error` around what it says of an error.
    unauthorized=(
        401,
        {
            "message": "Wrong API Key",
            "type": "invalid_request_error",
            "param": "api_key",
            "code": "wrong_api_key",
        },
    ),
    unknown_model=(
        404,
        {"message": "Model unknown does not exist.", "type": "not_found_error", "code": "model_not_found"},
    ),
    broken={"error": {"message": "It ran out of memory.", "type": "server_error"}, "status_code": 500},
)

TOGETHER = Vendor(
    "remote::together",
    "https://github.com/togethercomputer/openapi openapi.yaml: ChatCompletionChunk, FinishReason, ErrorData",
    limits=MAX_TOKENS_ALONE,
    developer=False,
    head={"id": "o6m4hGq-4Yz4kd-9b2c4e5f6a7d8e9f", "prompt": []},
    choice={"seed": 2039908639335532000, "logprobs": None},
    chunk={"usage": None},
    chunk_choice={"logprobs": -0.25, "seed": None, "text": "a copy of the delta's"},
    usage="with the end",
    reasons={"stop": "eos"},
    repeats_role=True,
    calls="repeating",
    embedding_usage=None,
    ranking=Ranking(),
    told={"/v1/models": [{"id": "sky", "object": "model", "type": "chat", "context_length": 8192}]},
    unauthorized=(401, openai_error("Invalid API key provided.", "invalid_request_error", "invalid_api_key")),
)

FIREWORKS = Vendor(
    "remote::fireworks",
    "https://docs.fireworks.ai/api-reference/post-chatcompletions (usage in the very last chunk of choices)",
    prefix="/inference/v1",
    model="accounts/fireworks/models/sky",
    usage="with the end",
    chunk={"usage": None},
    unauthorized=(401, openai_error("The API key you provided is invalid.", "error", "UNAUTHORIZED")),
    unknown_model=(404, openai_error("Model not found, inaccessible, and/or not deployed", "error", "NOT_FOUND")),
)

SAMBANOVA = Vendor(
    "remote::sambanova",
    "https://docs.sambanova.ai/docs/en/api-reference/using-the-api/api-error-codes.md and its OpenAPI document",
    head={"system_fingerprint": "fastcoe"},
    choice={"logprobs": None},
    chunk={"usage": None},
    extras={
        "is_last_response": True,
        "time_to_first_token": 0.13,
        "total_tokens_per_sec": 161.6,
        "stop_reason": "stop",
    },
    unauthorized=(
        401,
        openai_error("Invalid API key.", "authentication_error", "invalid_api_key") | {"request_id": "2a8b3c4d"},
    ),
)

DATABRICKS = Vendor(
    "remote::databricks",
    "https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference",
    prefix="/serving-endpoints",
    limits=MAX_TOKENS_ALONE,
    developer=False,
    usage="in each chunk",
    repeats_role=True,
    choice={"logprobs": None},
    unauthorized=(403, {"error_code": 403, "message": "Invalid access token."}),
    unknown_model=(
        404,
        {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "The given endpoint does not exist: unknown."},
    ),
    too_many=(429, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "Exceeded the QPS limit."}),
    failure=(500, {"error_code": "INTERNAL_ERROR", "message": "The server had an error."}),
    broken={"error_code": "INTERNAL_ERROR", "message": "It ran out of memory."},
    embedding_usage={"prompt_tokens": 3, "total_tokens": 3},
    told={"/api/2.0/serving-endpoints": {"endpoints": [{"name": "sky", "task": "llm/v1/chat"}]}},
)

NVIDIA = Vendor(
    "remote::nvidia",
    "https://docs.api.nvidia.com/nim/reference (Errors: RFC 7807's title, status and detail)",
    model="meta/sky",
    head={"prompt_logprobs": None},
    choice={"logprobs": None, "stop_reason": None},
    unauthorized=(401, {"status": 401, "title": "Unauthorized", "detail": "Authentication failed"}),
    unknown_model=(404, {"status": 404, "title": "Not Found", "detail": "Function 'unknown': Not found for account"}),
    too_many=(429, {"status": 429, "title": "Too Many Requests"}),
    ranking=Ranking("/v1/ranking", "passages", most=None, results="rankings", score="logit", parted=True),
    failure=(500, {"status": 500, "title": "Internal Server Error", "detail": "Inference error"}),
)

RUNPOD = Vendor(
    "remote::runpod",
    "https://docs.runpod.io/serverless/vllm/openai-compatibility (the worker is vLLM; its gateway writes the errors)",
    prefix="/v2/endpoint-1/openai/v1",
    developer=False,
    choice={"logprobs": None, "stop_reason": None},
    chunk={"usage": None},
    offers=frozenset({CHAT, COMPLETIONS, EMBEDDINGS}),
    unauthorized=(401, "Unauthorized"),
)
