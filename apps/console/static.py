"""The static files of all apps, served by WhiteNoise from where they lie: nothing to collect."""

from typing import Any

from asgiref.wsgi import WsgiToAsgi
from django.contrib.staticfiles.finders import get_finders
from whitenoise import WhiteNoise


def _not_found(environ: Any, start_response: Any) -> list[bytes]:
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"There is no such file.\n"]


def _white_noise() -> WhiteNoise:
    files = WhiteNoise(_not_found)
    for finder in get_finders():
        for storage in getattr(finder, "storages", {}).values():
            files.add_files(storage.location, prefix="static/")
    return files


static = WsgiToAsgi(_white_noise())
