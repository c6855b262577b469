"""The vector stores' routes."""

from ninja import Router

router = Router(tags=["vector_io"])
