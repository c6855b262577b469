"""The sentence in what an upstream says of an error, and what of it may be shown."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from llamastack.recording.secrets import of_request

LONGEST = 500
LONGEST_BEGINNING = 200  # of what is no JSON
READ_BEGINNING = 8 * 1024  # bytes of it that are looked through: MARKUP takes time that grows with their square
LONGEST_DETAIL = 200
# What holds the sentence, the first of them that says anything: OpenAI and most others; FastAPI; AWS; JSON:API; OAuth;
# IBM Cloud's tokens.
FIELDS = ("error", "detail", "message", "Message", "msg", "errors", "error_description", "title", "errorMessage")
DEEPEST = 4
SHORT = 8  # a secret of fewer characters may be part of a word, which is left as it is
HTML = ("text/html", "application/xhtml+xml")
MARKUP = re.compile(rb"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def said(body: bytes) -> Any:
    """An error body as JSON, or the first words of what is none. Gemini puts its one error into a list."""
    try:
        read = orjson.loads(body)
    except orjson.JSONDecodeError:
        return beginning(body)
    return read[0] if isinstance(read, list) and len(read) == 1 else read


def sentence(body: Any, depth: int = DEEPEST) -> str:
    """In any of the shapes that vendors use, of which some wrap others: "" where there is none."""
    if isinstance(body, list | dict) and not depth:
        return ""
    if isinstance(body, list):
        return "; ".join(filter(None, (sentence(item, depth - 1) for item in body[:5])))
    if isinstance(body, dict):
        if _is_word(body.get("error")) and isinstance(told := body.get("message"), str) and told:
            return told
        return next(filter(None, (sentence(body.get(name), depth - 1) for name in FIELDS)), "")
    return "" if body is None else str(body)


def _is_word(error: object) -> bool:
    """As Chroma and Spring name the kind of an error, with the sentence beside it."""
    return isinstance(error, str) and " " not in error


def details(body: Any) -> dict[str, str]:
    """What an error body says of the field and of the reason; Cerebras and older vLLM have no `error` around it.

    Of several `errors`, as watsonx.ai lists them, the first one's.
    """
    if not isinstance(body, dict):
        return {}
    inner = next((one for one in (body.get("error"), _first(body.get("errors"))) if isinstance(one, dict)), None)
    error = body if inner is None else inner
    return {key: error[key][:LONGEST_DETAIL] for key in ("param", "code") if isinstance(error.get(key), str)}


def _first(errors: Any) -> Any:
    return errors[0] if isinstance(errors, list) and errors else None


def beginning(body: bytes | bytearray) -> str:
    """The first words of what is no JSON, without markup."""
    return on_one_line(MARKUP.sub(b" ", body[:READ_BEGINNING]).decode(errors="replace"))[:LONGEST_BEGINNING]


def on_one_line(text: str) -> str:
    """Nor does it write to a terminal, or a log, anything but words."""
    return " ".join(CONTROLS.sub(" ", text).split())


def is_page(media_type: str, body: bytes) -> bool:
    """Whether it is HTML: the word of something that stands before the upstream."""
    return media_type in HTML or body.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html"))


def shown(text: str, secrets: Iterable[str]) -> str:
    """No secret that we sent, on one line, and not too long."""
    for secret in sorted(secrets, key=len, reverse=True):
        whole = re.escape(secret) if len(secret) >= SHORT else rf"(?<!\w){re.escape(secret)}(?!\w)"
        text = re.sub(whole, "***", text)
    text = on_one_line(text.encode(errors="replace").decode())
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def secrets_of(headers: Mapping[str, str], url: str) -> set[str]:
    """What of a request no message may repeat: the values of its headers, and the password in its address."""
    return {secret for secret in of_request(url, headers) if len(secret) > 1}
