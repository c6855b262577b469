"""The weights that the enabled inline providers need, fetched before the server starts."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

from apps.inference.local_models import KNOWN, resolve
from llamastack.cli.console import say, warn
from llamastack.config import ProviderEntry, StackConfig
from llamastack.providers import ProviderUnavailable

STOP_SECONDS = 5


def fetch_missing(config: StackConfig) -> None:
    """Fetch the local models that are absent. Without them the server starts all the same and says what is missing."""
    missing = [name for name in dict.fromkeys(needed(config)) if name in KNOWN and not _present(name)]
    if not missing:
        return
    say(f"Fetching the local models that are not here yet: {', '.join(missing)}.")
    if _fetch(missing):
        warn(
            "Local models are missing, so their provider cannot serve them; everything else is served. "
            f"Try again with: llama model download {missing[0]}"
        )


def needed(config: StackConfig) -> Iterator[str]:
    """The names of the models that run in this process."""
    inline = [
        provider
        for provider in config.providers.get("inference", [])
        if provider.provider_type.startswith("inline::") and provider.unavailable is None
    ]
    for provider in inline:
        if (name := provider.config.get("model")) and not _lies_elsewhere(provider):
            yield str(name)
    running = {provider.provider_id for provider in inline}
    elsewhere = {str(provider.config.get("model")) for provider in inline if _lies_elsewhere(provider)}
    for model in config.registered_resources.models:
        for provider_id, name in model.places():
            if provider_id in running and name not in elsewhere:
                yield name


def _lies_elsewhere(provider: ProviderEntry) -> bool:
    return provider.config.get("checkpoint_dir") not in (None, "", "null")


def _present(name: str) -> bool:
    try:
        resolve(name)
    except ProviderUnavailable:
        return False
    return True


def _fetch(names: list[str]) -> int:
    """In a process of its own: converting takes 1.5 GB and torch. It goes when this process is told to stop."""
    command = [sys.executable, "-m", "apps.inference.local_models", "fetch", *names]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        return process.wait()
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Interrupt the whole group, so that it removes what is half done; kill what is left of it."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
