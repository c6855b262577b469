"""IBM's watsonx.ai."""

from apps.inference.providers.remote.watsonx.provider import WatsonX

__all__ = ["WatsonX"]
