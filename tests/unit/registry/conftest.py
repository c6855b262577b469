"""What tests of the YAML and of its export share."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from apps.registry import service
from llamastack.config import load_config


@pytest.fixture
def apply(tmp_path: Path) -> Any:
    """Apply a run.yaml with these inference providers and models; returns its path."""

    def applied(providers: list[dict[str, Any]], models: list[dict[str, Any]] | None = None, **rest: Any) -> Path:
        run = {
            "version": 2,
            "image_name": "test",
            "apis": ["inference"],
            "providers": {"inference": providers},
            "registered_resources": {"models": models or []},
            **rest,
        }
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(run))
        service.apply(load_config(path))
        return path

    return applied
