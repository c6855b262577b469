"""Batches of the stack in this process, on the small upstream."""

from pathlib import Path

import pytest

from apps.registry import service
from apps.registry.models import Provider
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.files.conftest import add_files


def add_batches(**config: object) -> Provider:
    row = Provider(identifier="reference", provider_type="inline::reference", api="batches")
    return service.edit_provider(row, config, enabled=True)


@pytest.fixture
async def batches(running: LlamaStack, sky: Provider, tmp_path: Path) -> LlamaStack:
    await db(add_files, tmp_path / "files")
    await db(add_batches, max_concurrent_requests_per_batch=4)
    await running.live.refresh()
    return running
