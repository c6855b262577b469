"""Names that a run.yaml of 0.3.5 or of OGX may carry, whether they are built here or not."""

from llamastack.apis import Api

# APIs that only OGX has, and those of ours: the names a run.yaml may list.
KNOWN_APIS = frozenset(Api) | {"containers", "interactions", "messages", "skills", "systemone"}

# APIs whose rows are registered, not provided: no provider may be listed under them.
REGISTRY_APIS = frozenset(
    {
        Api.benchmarks,
        Api.connectors,
        Api.conversations,
        Api.datasets,
        Api.inspect,
        Api.models,
        Api.prompts,
        Api.providers,
        Api.scoring_functions,
        Api.shields,
        Api.tool_groups,
        Api.vector_stores,
    }
)


def _types(inline: str = "", remote: str = "") -> frozenset[str]:
    return frozenset([f"inline::{name}" for name in inline.split()] + [f"remote::{name}" for name in remote.split()])


# Every provider type of 0.3.5 and OGX (https://github.com/ogx-ai/ogx/tree/main/src/ogx/providers/registry), and what
# we have beside them, by API: what is not built yet is kept as unavailable, anything else is an error.
KNOWN_PROVIDER_TYPES: dict[str, frozenset[str]] = {
    "agents": _types("builtin meta-reference"),
    "batches": _types("reference"),
    "containers": _types("docker"),
    "datasetio": _types("localfs", "huggingface nvidia"),
    "eval": _types("meta-reference", "nvidia"),
    "file_processors": _types("auto docling markitdown pypdf", "docling-serve unstructured-api"),
    "files": _types("localfs", "openai s3"),
    "inference": _types(
        "meta-reference sentence-transformers transformers",
        "anthropic azure bedrock cerebras databricks deepseek fireworks gemini groq hf::endpoint hf::serverless "
        "llama-cpp-server llama-openai-compat llamastack meta mistral novita nvidia oci ollama openai orcarouter "
        "passthrough runpod sambanova tgi thegrid together vertexai vllm watsonx xai",
    ),
    "interactions": _types("builtin"),
    "messages": _types("builtin"),
    "post_training": _types("huggingface-gpu torchtune-cpu torchtune-gpu", "nvidia"),
    "responses": _types("builtin"),
    "safety": _types("code-scanner llama-guard prompt-guard", "bedrock nvidia passthrough sambanova"),
    "scoring": _types("basic braintrust llm-as-judge"),
    "skills": _types("builtin"),
    "synthetic_data_generation": _types(),
    "systemone": _types("", "typesafe"),
    "telemetry": _types("meta-reference"),
    "tool_runtime": _types(
        "file-search rag-runtime",
        "bing-search brave-search exa-search model-context-protocol nimble-search serply-search tavily-search "
        "wolfram-alpha",
    ),
    "vector_io": _types(
        "chromadb faiss meta-reference milvus qdrant sqlite-vec sqlite_vec",
        "chromadb elasticsearch infinispan milvus oci pgvector qdrant weaviate",
    ),
}

NOT_BUILT = "not built yet"
