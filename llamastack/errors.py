"""Every error a caller can meet, and the one place where an error becomes a status and a body.

    StackError                      500
    ├── BadRequest                  400  invalid_request_error
    │   └── UnsupportedParameter    400  unsupported_parameter
    ├── AuthenticationError         401
    ├── PermissionDenied            403
    ├── NotFound                    404
    ├── MethodNotAllowed            405
    ├── Conflict                    409
    ├── TooLarge                    413
    ├── RateLimited                 429  Retry-After
    ├── NotSupported                501  an operation the provider lacks
    ├── UpstreamError               502  a provider could not be reached or answered nonsense
    │   └── UpstreamRejected        the upstream's own 4xx status
    ├── Unavailable                 503  Retry-After
    │   ├── ProviderOff             503  nobody is there who does this: a job waits until somebody is
    │   └── DatabaseFull            507  the database's disk is full: what is retried is retried here, too
    ├── UpstreamTimeout             504
    └── DiskFull                    507

A message says what happened and what to do about it. Nothing reads a message to decide.
"""

from typing import Any, Self

Body = dict[str, Any]
SHOWN = 200  # characters of a field's name that a client made up


class StackError(Exception):
    """The base of all errors that reach a caller.

    `param` names the offending field; `code` is a machine-readable reason; `retry_after` is in seconds.
    """

    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.code
        self.retry_after = retry_after

    def but(self, message: str, retry_after: float | None) -> Self:
        """The same error with other words. It may have been raised for several callers, so it is left as it is."""
        other = type(self).__new__(type(self), message)
        vars(other).update(vars(self), message=message, retry_after=retry_after)
        return other


class BadRequest(StackError):
    """Of code `invalid_value`, where a field is named and no code says more."""

    status = 400
    type = "invalid_request_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        named = "invalid_value" if param is not None and self.code is None else None
        super().__init__(message, param=param, code=code or named)


class UnsupportedParameter(BadRequest):
    """A parameter that this provider cannot honour; never dropped in silence."""

    code = "unsupported_parameter"

    def __init__(self, parameter: str, provider: str, remedy: str = "Leave it out.") -> None:
        name = parameter[:SHOWN]
        super().__init__(f"{provider} does not support '{name}'. {remedy}", param=name)


class AuthenticationError(StackError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class PermissionDenied(StackError):
    status = 403
    type = "permission_error"
    code = "permission_denied"


class NotFound(StackError):
    status = 404
    type = "not_found_error"
    code = "not_found"


class MethodNotAllowed(StackError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class Conflict(StackError):
    status = 409
    type = "conflict_error"
    code = "conflict"


class TooLarge(StackError):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class RateLimited(StackError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class NotSupported(StackError):
    status = 501
    code = "not_supported"


class UpstreamError(StackError):
    status = 502
    type = "upstream_error"
    code = "upstream_error"


class UpstreamRejected(UpstreamError):
    """The upstream refused the request with a 4xx of its own, which the caller gets to see.

    Where it is for the credentials, the type says so; the code is the upstream's, or tells that it was the upstream.
    """

    types = {401: AuthenticationError.type, 403: PermissionDenied.type}

    def __init__(self, message: str, status: int, **details: Any) -> None:
        super().__init__(message, **details)
        self.status = status
        self.type = self.types.get(status, self.type)


class Unavailable(StackError):
    status = 503
    type = "service_unavailable"
    code = "unavailable"


class ProviderOff(Unavailable):
    """A provider that is switched off, not registered, or did not start: once it is there, the same is answered."""


class DatabaseFull(Unavailable):
    status = 507
    type = StackError.type
    code = "disk_full"


class UpstreamTimeout(StackError):
    status = 504
    type = "upstream_error"
    code = "upstream_timeout"


class DiskFull(StackError):
    status = 507
    code = "disk_full"


def render(error: StackError) -> tuple[int, Body]:
    """The status and the body of an error: one shape, which OpenAI's and Llama Stack's clients both read."""
    details = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return error.status, {"error": details, "detail": error.message}


def headers(error: StackError) -> dict[str, str]:
    """The response headers an error asks for."""
    return {} if error.retry_after is None else {"Retry-After": str(max(1, round(error.retry_after)))}
