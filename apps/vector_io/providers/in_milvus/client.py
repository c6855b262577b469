"""Milvus' own client: how it is opened, and what its errors mean to callers.

It speaks gRPC and reaches the server by itself, so it is made for addresses that an operator has written.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llamastack.errors import RateLimited, StackError, Unavailable, UpstreamError, UpstreamRejected, UpstreamTimeout

RETRY_SECONDS = 5.0
CONNECTING_FAILED = 2  # pymilvus/client/types.py, Status.CONNECT_FAILED
RATE_LIMITED, REFUSING = 8, 9  # pymilvus/exceptions.py, ErrorCode
NO_COLLECTION, NOT_LOADED = 100, 101
# gRPC would go by HTTP_PROXY, which this server does not read; and a channel of one's own for each client.
OPTIONS = {"grpc.enable_http_proxy": 0, "grpc.use_local_subchannel_pool": 1}


class Gone(Exception):
    """The collection is not there, or not loaded any more."""


def pymilvus() -> Any:
    """The package, imported where a provider starts. It shall read no .env, and log no error that callers get."""
    os.environ.setdefault("PYTHON_DOTENV_DISABLED", "1")
    import pymilvus

    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    return pymilvus


def connected(address: str, seconds: float, **given: Any) -> Any:
    """A client with a connection that no other has. Raises StackError where nobody answers."""
    with translated():
        return pymilvus().MilvusClient(address, timeout=seconds, dedicated=True, grpc_options=OPTIONS, **given)


@contextmanager
def translated() -> Iterator[None]:
    """What pymilvus and gRPC raise, as the errors that callers know."""
    import grpc
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, grpc.RpcError) as error:
        code = None if isinstance(error, grpc.RpcError) else error.code
        if code in (NO_COLLECTION, NOT_LOADED):
            raise Gone from error
        raise _meaning(_status(error), code, _line(error)) from error


def _status(error: BaseException | None) -> str:
    """The name of gRPC's status, where one is at the root of it. pymilvus makes errors their own causes."""
    import grpc

    seen: list[BaseException] = []
    while error is not None and error not in seen:
        code = error.code() if isinstance(error, grpc.RpcError) else getattr(error, "code", None)
        if isinstance(code, grpc.StatusCode):
            return str(code.name)
        seen.append(error)
        error = error.__context__
    return ""


def _meaning(status: str, code: Any, line: str) -> StackError:
    if status in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        number = 401 if status == "UNAUTHENTICATED" else 403
        return UpstreamRejected("Milvus refuses this token: check the provider's `token`.", number)
    if status in ("DEADLINE_EXCEEDED", "CANCELLED"):
        return UpstreamTimeout("Milvus did not answer in time; try again, or set a longer `timeout_seconds`.")
    if status == "RESOURCE_EXHAUSTED" or code == RATE_LIMITED:
        return RateLimited("Milvus takes no more requests now; try again shortly.", retry_after=RETRY_SECONDS)
    if status or code in (CONNECTING_FAILED, REFUSING):
        return Unavailable(f"Milvus cannot be reached: {line}; try again shortly.", retry_after=RETRY_SECONDS)
    return UpstreamError(f"Milvus answered with an error: {line}.")


def _line(error: Any) -> str:
    import grpc

    words: str = error.details() or "" if isinstance(error, grpc.RpcError) else error.message
    return " ".join(words.split())[:500].rstrip(".")
