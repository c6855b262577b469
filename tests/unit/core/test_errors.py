"""One body for every error, which OpenAI's and Llama Stack's clients both read."""

from llamastack import errors
from llamastack.errors import BadRequest, RateLimited, StackError, UnsupportedParameter, headers, render


def everything(kind: type[StackError] = StackError) -> list[type[StackError]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in everything(child))]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = {line.lstrip(" │├└─").split()[0] for line in (errors.__doc__ or "").splitlines() if "──" in line}
    assert drawn == {kind.__name__ for kind in everything() if kind.__module__ == "llamastack.errors"} - {"StackError"}


def test_the_body_has_openais_error_and_llama_stacks_detail() -> None:
    status, body = render(UnsupportedParameter("logprobs", "Provider 'x'"))
    assert status == 400
    assert body["error"] == {
        "message": "Provider 'x' does not support 'logprobs'. Leave it out.",
        "type": "invalid_request_error",
        "param": "logprobs",
        "code": "unsupported_parameter",
    }
    assert body["detail"] == body["error"]["message"]


def test_a_bad_request_that_names_a_field_says_that_its_value_is_invalid() -> None:
    assert BadRequest("no", param="n").code == "invalid_value"
    assert BadRequest("no", param="n", code="invalid_cursor").code == "invalid_cursor"
    assert BadRequest("no").code is None


def test_retry_after_is_at_least_a_second() -> None:
    assert headers(RateLimited("slow down", retry_after=0.2)) == {"Retry-After": "1"}
    assert headers(RateLimited("slow down")) == {}


def test_a_name_that_a_client_made_up_is_cut() -> None:
    error = UnsupportedParameter("x" * 1_000_000, "Provider 'x'")
    assert len(error.message) + len(error.param or "") < 1000
