"""The vector_io providers that run here, each with its config for what it keeps in a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.plugin import ON_SQLITE


def in_folder(folder: Path) -> dict[str, Any]:
    return {"storage_dir": str(folder)}


def in_files(folder: Path) -> dict[str, Any]:
    return {"db_path": f"{folder}.db"}


def in_the_database(folder: Path) -> dict[str, Any]:
    return {}


CONFIGS: dict[str, Callable[[Path], dict[str, Any]]] = {"inline::faiss": in_folder, "inline::sqlite-vec": in_files}
if not ON_SQLITE:
    CONFIGS["remote::pgvector"] = in_the_database
