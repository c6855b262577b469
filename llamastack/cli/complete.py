"""What the shell may complete: names that are read without Django and without a start. What cannot be read is no name.

Where nothing fits, the shell goes on to the names of files.
"""

import asyncio
import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from urllib.parse import urlsplit

import typer

from apps.inference import local_models
from llamastack.apis import SERVED
from llamastack.config import database_url, load_config
from llamastack.config import distributions as known
from llamastack.errors import StackError

URL = f"http://127.0.0.1:{os.environ.get('LLAMA_STACK_PORT') or 8321}"
SERVER_SECONDS = 1.0
KEYS = "SELECT prefix, name FROM access_apikey WHERE revoked_at IS NULL ORDER BY prefix"
Offered = list[tuple[str, str]]


def distributions(incomplete: str) -> Offered:
    return fitting(incomplete, ((name, "") for name in known()))


def apis(incomplete: str) -> Offered:
    return fitting(incomplete, ((api.value, SERVED[api].level) for api in SERVED))


def local(incomplete: str) -> Offered:
    """Models of this machine, by their whole name or what follows its last slash."""
    found = [(model.name, model.type) for model in local_models.available()]
    short = [(name.rpartition("/")[2], kind) for name, kind in found]
    return fitting(incomplete, found) or fitting(incomplete, short)


def served(ctx: typer.Context, incomplete: str) -> Offered:
    """The models of the server that `llama chat` would talk with, where it answers within a second."""
    from llamastack.cli.chat import base_of, chat_models

    url = base_of(str(ctx.params.get("url") or URL))
    try:
        models = asyncio.run(asyncio.wait_for(chat_models(url), SERVER_SECONDS))
    except (StackError, TimeoutError):
        return []
    return fitting(incomplete, ((str(model["id"]), str(model.get("provider_id", ""))) for model in models))


def keys(ctx: typer.Context, incomplete: str) -> Offered:
    """The beginnings of keys that are in force, from an SQLite database: of another, it would take Django to ask."""
    try:
        url = urlsplit(database_url(load_config(str(ctx.params.get("config") or "starter"))))
        if url.scheme != "sqlite":
            return []
        with closing(sqlite3.connect(f"file:{url.path[1:]}?mode=ro", uri=True, timeout=SERVER_SECONDS)) as database:
            return fitting(incomplete, database.execute(KEYS).fetchall())
    except (StackError, sqlite3.Error):
        return []


def fitting(incomplete: str, names: Iterable[tuple[str, str]]) -> Offered:
    return [(name, about) for name, about in names if name.startswith(incomplete)]
