"""The static files of all apps, described by WhiteNoise and sent from where they lie: nothing to collect."""

import asyncio
from typing import Any

from django.contrib.staticfiles.finders import get_finders
from whitenoise import WhiteNoise
from whitenoise.responders import StaticFile

Answer = tuple[int, list[tuple[str, str]], bytes]
MISSING: Answer = (404, [("Content-Type", "text/plain"), ("Content-Length", "22")], b"There is no such file.")


def _files() -> dict[str, StaticFile]:
    """Every static file by its URL's path."""
    files = WhiteNoise(None)
    for finder in get_finders():
        for storage in getattr(finder, "storages", {}).values():
            files.add_files(storage.location, prefix="static/")
    found: dict[str, StaticFile] = files.files
    return found


FILES = _files()


async def static(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request for a file."""
    asked = {name.decode("latin-1").upper().replace("-", "_"): value for name, value in scope["headers"]}
    environ = {f"HTTP_{name}": value.decode("latin-1") for name, value in asked.items()}
    file = FILES.get(scope["path"])
    status, headers, body = await asyncio.to_thread(_read, file, scope["method"], environ) if file else MISSING
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""})


def _read(file: StaticFile, method: str, environ: dict[str, str]) -> Answer:
    response = file.get_response(method, environ)
    if response.file is None:
        return int(response.status), response.headers, b""
    with response.file:
        return int(response.status), response.headers, response.file.read()
