"""The vector_io providers that run here, each with its config for what it keeps in a folder."""

import atexit
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from tests.elasticsearch.server import KEY, ScriptedElasticsearch, in_thread
from tests.plugin import ON_SQLITE
from tests.weaviate.served import ScriptedWeaviate, running


def in_folder(folder: Path) -> dict[str, Any]:
    return {"storage_dir": str(folder)}


def in_files(folder: Path) -> dict[str, Any]:
    return {"db_path": f"{folder}.db"}


def in_the_database(folder: Path) -> dict[str, Any]:
    return {}


servers = ExitStack()  # one of each for all of a run's tests
atexit.register(servers.close)


@cache
def elasticsearch() -> ScriptedElasticsearch:
    return servers.enter_context(in_thread())


def in_elasticsearch(folder: Path) -> dict[str, Any]:
    return {"elasticsearch_url": elasticsearch().url, "elasticsearch_api_key": KEY}


@cache
def weaviate() -> ScriptedWeaviate:
    return servers.enter_context(running(ScriptedWeaviate()))


def at_weaviate(folder: Path) -> dict[str, Any]:
    return {"weaviate_cluster_url": weaviate().url}


CONFIGS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "inline::faiss": in_folder,
    "inline::sqlite-vec": in_files,
    "remote::elasticsearch": in_elasticsearch,
    "remote::weaviate": at_weaviate,
}
if not ON_SQLITE:
    CONFIGS["remote::pgvector"] = in_the_database
