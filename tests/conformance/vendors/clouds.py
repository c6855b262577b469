"""Clouds whose addresses, keys or lists of models are their own, and other stacks."""

from dataclasses import replace

from tests.conformance.vendors.hosted import FILTERED, OPENAI
from tests.conformance.vendors.vendor import CHAT, CREATED, Ranking, Vendor

AZURE = Vendor(
    "remote::azure",
    "https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-streaming, …/openai/reference",
    prefix="/openai/v1",
    address="",
    authorization=("api-key", "{key}"),
    head={"system_fingerprint": "fp_f3927aa00d"},
    choice={"content_filter_results": FILTERED, "logprobs": None},
    chunk={"usage": None},
    chunk_choice={"content_filter_results": {}, "logprobs": None},
    opening=(
        {
            "choices": [],
            "created": 0,
            "id": "",
            "model": "",
            "object": "",
            "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": FILTERED}],
        },
    ),
    unauthorized=(
        401,
        {"error": {"code": "401", "message": "Access denied due to invalid subscription key or wrong API endpoint."}},
    ),
    unknown_model=(
        404,
        {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}},
    ),
    too_many=(429, {"error": {"code": "429", "message": "Requests have exceeded the call rate limit."}}),
)

AZURE_DATED = replace(
    AZURE,
    variant="-dated",
    config={"api_version": "2024-10-21"},
    prefix="/openai/deployments/[^/]+",
    query={"api-version": "2024-10-21"},
)

# Of other publishers' models; Google's own are in google.py.
VERTEX_MAAS = Vendor(
    "remote::vertexai",
    "https://cloud.google.com/vertex-ai/generative-ai/docs/maas/use-open-models, …/docs/migrate/openai/overview",
    variant="-maas",
    config={"project": "p", "location": "us-central1", "allowed_models": ["meta/sky"]},
    prefix="/v1/projects/p/locations/us-central1/endpoints/openapi",
    offers=frozenset({CHAT}),
    developer=False,
    model="meta/sky",
    head={"system_fingerprint": ""},
    chunk_choice={"logprobs": None},
    usage="with the end",
    extras={"extra_properties": {"google": {"traffic_type": "ON_DEMAND"}}},
    calls="whole",
    unauthorized=(
        401,
        [{"error": {"code": 401, "message": "Request had invalid credentials.", "status": "UNAUTHENTICATED"}}],
    ),
    unknown_model=(404, [{"error": {"code": 404, "message": "Model was not found.", "status": "NOT_FOUND"}}]),
    failure=(500, [{"error": {"code": 500, "message": "An internal error.", "status": "INTERNAL"}}]),
)

# Its streams end without [DONE], and its errors have two shapes: llama_stack/core/server/server.py.
LLAMA_STACK = Vendor(
    "remote::llamastack",
    "https://github.com/llamastack/llama-stack/blob/v0.3.5/src/llama_stack/core/server/server.py",
    address="",
    ranking=Ranking("/v1alpha/inference/rerank", "items", most="max_num_results", results="data"),
    done=False,
    told={"/v1/models": {"data": [{"identifier": "sky", "provider_id": "vllm", "type": "model", "model_type": "llm"}]}},
    unauthorized=(401, {"error": {"message": "Authentication failed"}}),
    unknown_model=(404, {"detail": "Model 'unknown' not found."}),
    failure=(500, {"detail": "Internal server error: An unexpected error occurred."}),
    broken={"error": {"message": "500: It ran out of memory."}},
)

PASSTHROUGH = replace(
    OPENAI,
    provider_type="remote::passthrough",
    source="whatever speaks the dialect; here with all that standards allow and clients have met: lines that end in "
    "CRLF, comments, named events, times with fractions, empty reasons, null for choices, calls that all have index 0",
    created=CREATED + 0.25,
    going_on="",
    calls="at zero",
    no_choices=None,
    line_end=b"\r\n",
    noise=b": ping\r\n\r\nevent: message\r\nid: 7\r\n",
)
