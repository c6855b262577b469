"""Google's Vertex AI, by its OpenAI-compatible door: provider.py speaks to it, credentials.py obtains its tokens."""

from apps.inference.providers.remote.vertexai.provider import VertexAI

__all__ = ["VertexAI"]
