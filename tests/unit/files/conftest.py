"""Files of the stack in this process, in a folder of the test's own."""

from pathlib import Path

import pytest

from apps.registry import service
from apps.registry.models import Provider
from llamastack.db import db
from llamastack.stack import LlamaStack


def add_files(folder: Path, **config: object) -> Provider:
    row = Provider(identifier="local", provider_type="inline::localfs", api="files")
    return service.edit_provider(row, {"storage_dir": str(folder), **config}, enabled=True)


@pytest.fixture
async def folder(running: LlamaStack, tmp_path: Path) -> Path:
    """Where the provider `local` keeps its files."""
    await db(add_files, tmp_path / "files")
    await running.live.refresh()
    return tmp_path / "files"
