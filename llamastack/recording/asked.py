"""A request as it is compared and kept: nothing of where it went and with which key."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from llamastack.recording import normal
from llamastack.recording.secrets import FORM, MASK, OF_QUERIES, Secrets

NAME_CHARACTERS = 48
LARGEST_TEXT = 4096


@dataclass(frozen=True)
class Asked:
    """One request to `upstream`, the provider's id. `query` has sorted pairs; `body` says its own kind."""

    upstream: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    body: dict[str, Any] | None

    @classmethod
    def of(cls, upstream: str, method: str, url: str, body: bytes | None, secrets: Secrets, media: str = "") -> "Asked":
        """`media` is the body's type, where it is no JSON."""
        parts = urlsplit(url)
        query = sorted(
            (name, MASK if OF_QUERIES.fullmatch(name) else secrets.text(v)) for name, v in parse_qsl(parts.query)
        )
        path = secrets.text(unquote(parts.path)) or "/"
        return cls(upstream, method, path, tuple(query), None if body is None else _sent(body, media, secrets))

    @property
    def told(self) -> dict[str, Any]:
        """As it stands in the file."""
        told: dict[str, Any] = {"method": self.method, "path": self.path}
        if self.query:
            told["query"] = [list(pair) for pair in self.query]
        return told if self.body is None else told | {"body": self.body}

    @property
    def hash(self) -> str:
        text = json.dumps([self.upstream, self.told], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()

    @property
    def file_name(self) -> str:
        parts = [_slug(part) for part in (self.upstream, self.path, self.model)]
        return ".".join([*(part for part in parts if part), self.hash[:16], "json"])

    @property
    def model(self) -> str:
        body = (self.body or {}).get("json")
        model = body.get("model") if isinstance(body, dict) else None
        return model if isinstance(model, str) else ""

    @property
    def summary(self) -> str:
        model = f", model '{self.model}'" if self.model else ""
        return f"{self.method} {self.path} of '{self.upstream}'{model}"


def _slug(text: str) -> str:
    """A part of a file's name. A version at a path's beginning tells nothing."""
    text = re.sub(r"^/v\d[a-z0-9]*/", "", text)
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:NAME_CHARACTERS].lower()


def _sent(body: bytes, media: str, secrets: Secrets) -> dict[str, Any]:
    kept = content(body)
    if media.startswith(FORM) and "text" in kept:  # such as what asks for a token, signed anew each time
        kept = {"json": dict(parse_qsl(kept["text"]))}
    if "json" in kept:
        return {"json": normal.request_body(secrets.masked(kept["json"]))}
    if len(body) <= LARGEST_TEXT and "text" in kept:
        return {"text": secrets.text(kept["text"])}
    return {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}


def content(data: bytes) -> dict[str, Any]:
    """A body by its kind: {"json": …}, {"text": …} or {"base64": …}."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
    try:
        read = json.loads(text, parse_constant=_refused)
        json.dumps(read, ensure_ascii=False, allow_nan=False).encode()  # neither 1e999 nor half a pair of surrogates
    except (ValueError, RecursionError):
        return {"text": text}
    return {"json": read}


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def data_of(kept: dict[str, Any]) -> bytes:
    """The bytes that `content` was made of; of JSON, the same value."""
    if "json" in kept:
        return json.dumps(kept["json"], ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64decode(kept["base64"]) if "base64" in kept else str(kept["text"]).encode()
