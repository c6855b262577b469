"""Servers that people run themselves, and Hugging Face, which runs them for others."""

from tests.conformance.vendors.vendor import CHAT, COMPLETIONS, MAX_TOKENS_ALONE, Ranking, Vendor

VLLM = Vendor(
    "remote::vllm",
    "https://github.com/vllm-project/vllm/blob/main/vllm/entrypoints/openai/chat_completion/protocol.py",
    developer=False,  # to most models' templates: https://github.com/vllm-project/vllm/pull/43590
    head={"service_tier": None, "system_fingerprint": None, "prompt_logprobs": None, "kv_transfer_params": None},
    choice={"logprobs": None, "stop_reason": None, "token_ids": None},
    chunk_choice={"logprobs": None, "stop_reason": None, "token_ids": None},
    extras={"prompt_tokens_details": None},
    ranking=Ranking(),
    unauthorized=(401, {"error": "Unauthorized"}),
    unknown_model=(
        404,
        {
            "error": {
                "message": "The model `unknown` does not exist.",
                "type": "NotFoundError",
                "param": "model",
                "code": 404,
            }
        },
    ),
    failure=(500, {"error": {"message": "EngineCore died.", "type": "InternalServerError", "code": 500}}),
    # Until version 0.9, in a stream as in an answer.
    broken={"object": "error", "message": "It ran out of memory.", "type": "InternalServerError", "code": 500},
)

OLLAMA = Vendor(
    "remote::ollama",
    "https://github.com/ollama/ollama/blob/main/openai/openai.go (ChatCompletion, Chunk, ErrorResponse)",
    limits=MAX_TOKENS_ALONE,  # https://github.com/ollama/ollama/issues/7125
    chooses=False,
    developer=False,  # which it ignores: https://github.com/earendil-works/pi/pull/140
    several=False,
    head={"id": "chatcmpl-774", "system_fingerprint": "fp_ollama"},
    repeats_role=True,
    calls="whole",
    told={"/api/show": {"capabilities": ["completion"], "model_info": {"llama.context_length": 8192}}},
    unauthorized=(401, "401 Unauthorized"),  # of the proxy in front of it: it has no keys
    unknown_model=(
        404,
        {"error": {"message": "model 'unknown' not found", "type": "not_found_error", "param": None, "code": None}},
    ),
)

LLAMA_CPP = Vendor(
    "remote::llama-cpp-server",
    "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md, tools/server/server-task.cpp",
    thinks=True,
    # Until server-schema.cpp came, which knows both.
    limits=MAX_TOKENS_ALONE,
    developer=False,  # until https://github.com/ggml-org/llama.cpp/pull/20215
    noise=b":\n\n",
    head={"system_fingerprint": "b9998-c036959df", "timings": {"prompt_n": 28, "predicted_ms": 1317.711}},
    extras={"prompt_tokens_details": {"cached_tokens": 0}},
    ranking=Ranking(),
    unauthorized=(401, {"error": {"code": 401, "message": "Invalid API Key", "type": "authentication_error"}}),
    unknown_model=(404, {"error": {"code": 404, "message": "model not found", "type": "not_found_error"}}),
    failure=(500, {"error": {"code": 500, "message": "Failed to decode.", "type": "server_error"}}),
    broken={"error": {"code": 500, "message": "It ran out of memory.", "type": "server_error"}},
)

TGI = Vendor(
    "remote::tgi",
    "https://github.com/huggingface/text-generation-inference/blob/main/router/src/lib.rs, server.rs (keep-alives)",
    address="",
    offers=frozenset({CHAT, COMPLETIONS}),
    limits=MAX_TOKENS_ALONE,  # https://github.com/huggingface/text-generation-inference/issues/2925
    developer=False,
    several=False,
    head={"id": "", "system_fingerprint": "2.4.0-sha-0a655a0", "object": "text_completion"},
    choice={"logprobs": None},
    chunk_choice={"logprobs": None},
    noise=b":\n\n",
    reasons={"stop": "eos_token"},
    calls="repeating",
    repeats_role=True,
    told={"/info": {"model_id": "sky", "max_total_tokens": 4096}},
    unauthorized=(401, {"error": "Unauthorized", "error_type": "unauthorized"}),
    unknown_model=(404, {"error": "model not found", "error_type": "not_found"}),
    too_many=(429, {"error": "Model is overloaded", "error_type": "overloaded"}),
    failure=(500, {"error": "Request failed during generation: Server error", "error_type": "generation"}),
    broken={"error": "It ran out of memory.", "error_type": "generation"},
)

HF_ENDPOINT = Vendor(
    "remote::hf::endpoint",
    TGI.source,
    config={"endpoint_name": "us/mine"},
    limits=TGI.limits,
    developer=False,
    ranking=Ranking("/rerank", "texts", most=None, results=None, score="score"),
    head=TGI.head,
    noise=TGI.noise,
    reasons=TGI.reasons,
    embedding_usage=None,
    unauthorized=(401, {"error": "Invalid username or password."}),
    unknown_model=TGI.unknown_model,
    failure=TGI.failure,
    broken=TGI.broken,
)

HF_SERVERLESS = Vendor(
    "remote::hf::serverless",
    "https://huggingface.co/docs/inference-providers/tasks/chat-completion",
    config={"huggingface_repo": "meta-llama/Llama-3.1-8B-Instruct"},
    offers=frozenset({CHAT}),
    limits=MAX_TOKENS_ALONE,  # the one that the page names
    model="meta-llama/sky",
    told={"/v1/models": {"object": "list", "data": [{"id": "meta-llama/Llama-3.1-8B-Instruct", "object": "model"}]}},
    unauthorized=(401, {"error": "Invalid username or password."}),
    unknown_model=(
        404,
        {"error": {"message": "The requested model 'unknown' does not exist", "code": "model_not_found"}},
    ),
)
