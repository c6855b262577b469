"""What holds of a replay: no upstream is asked, its errors are replayed, and a program replays as a server does."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from llamastack.recording import Mode
from tests.integration.conftest import PROVIDERS, STACK, TEXT_MODEL
from tests.integration.test_inference import GIVEN, QUESTION
from tests.servers import ROOT, environment

PROGRAM = f"""
import time
from llamastack import LlamaStackAsLibraryClient

with LlamaStackAsLibraryClient({str(STACK)!r}) as client:
    openai = client.as_openai()
    while not any(model.id == "openai/{TEXT_MODEL}" for model in openai.models.list()):
        time.sleep(0.02)
    reply = openai.chat.completions.create(model="openai/{TEXT_MODEL}", messages={QUESTION!r}, **{GIVEN!r})
    print(reply.choices[0].message.content)
"""


def test_a_model_the_upstream_has_lost(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="a-model-that-was-here-once"):
        client.chat.completions.create(model="openai/gone", messages=QUESTION)


def test_nobody_connects_to_the_upstream(client: openai.OpenAI, mode: Mode, listener: socket.socket) -> None:
    for provider in PROVIDERS:
        client.chat.completions.create(model=f"{provider}/{TEXT_MODEL}", messages=QUESTION, **GIVEN)
    if mode is Mode.replay:
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_request_that_was_not_recorded_says_what_differs(client: openai.OpenAI, mode: Mode) -> None:
    if mode is not Mode.replay:
        return
    asked = [{"role": "user", "content": "What is the capital of Spain? Answer in one sentence."}]
    with pytest.raises(openai.APIStatusError, match="recorded 'What is the capital of France") as missed:
        client.chat.completions.create(model=f"openai/{TEXT_MODEL}", messages=asked, **GIVEN)
    assert (missed.value.status_code, missed.value.code) == (424, "recording_missing")


def test_a_program_with_the_library_client_replays_too(
    url: str, upstream: str, variables: dict[str, str], tmp_path: Path
) -> None:
    env = environment(tmp_path, **variables, INTEGRATION_UPSTREAM=upstream)
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=env, capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 0, ran.stderr
    assert "Paris" in ran.stdout
    assert "LLAMA_STACK_TEST_INFERENCE_MODE" in ran.stderr


def test_no_recording_tells_a_key_or_this_machine(variables: dict[str, str], url: str) -> None:
    files = list(Path(variables["LLAMA_STACK_TEST_RECORDING_DIR"]).rglob("*"))
    assert files
    told = "".join(file.name + file.read_text() for file in files if file.is_file())
    hidden = ["sk-integration", "127.0.0.1", os.path.expanduser("~") + "/", str(ROOT)]
    assert [secret for secret in hidden if secret in told] == []
