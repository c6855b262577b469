"""Embeddings by models that run in this process. Importing this package imports neither torch nor transformers."""

from apps.inference.providers.inline.sentence_transformers.provider import (
    SentenceTransformers,
    SentenceTransformersConfig,
)

__all__ = ["SentenceTransformers", "SentenceTransformersConfig"]
