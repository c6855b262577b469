"""The vector_io providers that run here, each with its config for what it keeps in a folder."""

import atexit
import hashlib
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from tests import chroma, milvus, qdrant
from tests.elasticsearch import server as elasticsearch
from tests.infinispan import server as infinispan
from tests.oracle.provider import in_file
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
def an_elasticsearch() -> str:
    return servers.enter_context(elasticsearch.in_thread()).url


def in_elasticsearch(folder: Path) -> dict[str, Any]:
    return {"elasticsearch_url": an_elasticsearch(), "elasticsearch_api_key": elasticsearch.KEY}


@cache
def an_infinispan() -> str:
    return servers.enter_context(infinispan.in_thread()).url


def in_infinispan(folder: Path) -> dict[str, Any]:
    return {"url": an_infinispan(), "username": infinispan.USERNAME, "password": infinispan.PASSWORD}


@cache
def weaviate() -> ScriptedWeaviate:
    return servers.enter_context(running(ScriptedWeaviate()))


def at_weaviate(folder: Path) -> dict[str, Any]:
    return {"weaviate_cluster_url": weaviate().url}


def at_path(folder: Path) -> dict[str, Any]:
    return {"path": str(folder)}


@cache
def scripted_qdrant() -> qdrant.ScriptedQdrant:
    return servers.enter_context(qdrant.in_thread())


def in_qdrant(folder: Path) -> dict[str, Any]:
    """Collections of its own, as a folder would be."""
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return {"url": scripted_qdrant().url, "api_key": qdrant.KEY, "collection_prefix": name}


@cache
def milvus_server() -> str:
    folder = servers.enter_context(tempfile.TemporaryDirectory(prefix="milvus-"))
    return servers.enter_context(milvus.serving(Path(folder))).url


def in_milvus(folder: Path) -> dict[str, Any]:
    return {"uri": milvus_server()}


@cache
def chroma_server() -> chroma.Chroma:
    return servers.enter_context(chroma.running())


def in_chroma(folder: Path) -> dict[str, Any]:
    return {"url": chroma_server().url}


def in_oracle(folder: Path) -> dict[str, Any]:
    return in_file(folder.with_suffix(".oracle"))


CONFIGS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "inline::chromadb": in_files,
    "inline::faiss": in_folder,
    "inline::milvus": in_files,
    "inline::sqlite-vec": in_files,
    "inline::qdrant": at_path,
    "remote::qdrant": in_qdrant,
    "remote::chromadb": in_chroma,
    "remote::elasticsearch": in_elasticsearch,
    "remote::infinispan": in_infinispan,
    "remote::milvus": in_milvus,
    "remote::oci": in_oracle,
    "remote::weaviate": at_weaviate,
}
if not ON_SQLITE:
    CONFIGS["remote::pgvector"] = in_the_database
