"""What is known of embedding models by their names: lists of models seldom tell their type, never their dimension.

OpenAI's: https://platform.openai.com/docs/guides/embeddings. Google's (`gemini-embedding-001`, `text-embedding-005`):
https://ai.google.dev/gemini-api/docs/embeddings and
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api. NVIDIA's:
https://docs.nvidia.com/nim/nemo-retriever/text-embedding/latest/support-matrix.html. Databricks':
https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/supported-models. The others are open models,
the same wherever they run: their cards on https://huggingface.co/models tell it.
"""

DIMENSIONS = {
    "all-minilm-l6-v2": 384,
    "all-mpnet-base-v2": 768,
    "arctic-embed-l": 1024,
    "bge-base-en-v1.5": 768,
    "bge-large-en-v1.5": 1024,
    "bge-large-zh-v1.5": 1024,
    "bge-m3": 1024,
    "bge-small-en-v1.5": 384,
    "databricks-bge-large-en": 1024,
    "databricks-gte-large-en": 1024,
    "e5-mistral-7b-instruct": 4096,
    "gemini-embedding-001": 3072,
    "gemini-embedding-2": 3072,
    "gemini-embedding-2-preview": 3072,
    "gte-modernbert-base": 768,
    "llama-3.2-nemoretriever-1b-vlm-embed-v1": 2048,
    "llama-3.2-nemoretriever-300m-embed-v1": 2048,
    "llama-3.2-nv-embedqa-1b-v2": 2048,
    "llama-nemotron-embed-1b-v2": 2048,
    "llama-nemotron-embed-300m-v2": 2048,
    "llama-nemotron-embed-vl-1b-v2": 2048,
    "m2-bert-80m-2k-retrieval": 768,
    "m2-bert-80m-32k-retrieval": 768,
    "m2-bert-80m-8k-retrieval": 768,
    "multilingual-e5-large": 1024,
    "multilingual-e5-large-instruct": 1024,
    "mxbai-embed-large-v1": 1024,
    "nomic-embed-text-v1": 768,
    "nomic-embed-text-v1.5": 768,
    "nv-embed-v1": 4096,
    "nv-embedqa-e5-v5": 1024,
    "nv-embedqa-mistral-7b-v2": 4096,
    "qwen3-embedding-0.6b": 1024,
    "qwen3-embedding-4b": 2560,
    "qwen3-embedding-8b": 4096,
    "text-embedding-004": 768,
    "text-embedding-005": 768,
    "text-embedding-3-large": 3072,
    "text-embedding-3-small": 1536,
    "text-embedding-ada-002": 1536,
    "text-multilingual-embedding-002": 768,
    "uae-large-v1": 1024,
}


def dimension(model: str) -> int | None:
    """The length of a known embedding model's vectors, whoever's name stands before its own."""
    return DIMENSIONS.get(model.rpartition("/")[2].lower())
