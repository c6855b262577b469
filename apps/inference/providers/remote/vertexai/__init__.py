"""Google's Vertex AI: provider.py speaks to it, credentials.py obtains its tokens."""

from apps.inference.providers.remote.vertexai.provider import VertexAI

__all__ = ["VertexAI"]
