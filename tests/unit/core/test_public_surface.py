"""What `import llamastack` offers to Python programs, and what it costs them."""

import subprocess
import sys

import pytest

import llamastack
from tests.servers import ROOT

NAMES = ["AsyncLlamaStackAsLibraryClient", "LlamaStack", "LlamaStackAsLibraryClient"]


def test_these_names_are_public() -> None:
    assert llamastack.__all__ == NAMES
    assert set(NAMES) <= set(dir(llamastack))
    assert all(getattr(llamastack, name).__name__ == name for name in NAMES)


def test_no_other_name_is() -> None:
    with pytest.raises(AttributeError, match="module 'llamastack' has no attribute 'LlamaStackClient'"):
        llamastack.LlamaStackClient  # noqa: B018  # type: ignore[attr-defined]


def test_they_are_imported_before_django_is_set_up() -> None:
    code = f"from llamastack import {', '.join(NAMES)}; from django.apps import apps; print(apps.ready)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True)
    assert ran.stdout == "False\n", ran.stderr


@pytest.mark.parametrize("package", ["llama_stack_client", "httpx", "fire", "requests"])
def test_a_package_that_is_missing_is_named(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from llamastack import LlamaStackAsLibraryClient"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert f"({package}): pip install llama-stack-client fire requests" in ran.stderr
