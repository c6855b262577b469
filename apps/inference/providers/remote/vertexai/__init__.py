"""Google's Vertex AI: provider.py speaks to it, claude.py to Anthropic's models there.

credentials.py obtains its tokens, by google-auth, whose requests bridge.py sends.
"""

from apps.inference.providers.remote.vertexai.provider import VertexAI

__all__ = ["VertexAI"]
