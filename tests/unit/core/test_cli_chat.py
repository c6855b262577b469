"""`llama chat` against a real server whose models are on the small upstream: through a pipe, and in a terminal."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import pytest
import yaml

from tests import upstream as fake
from tests.servers import ROOT, Server, environment, free_port, serving

pytestmark = pytest.mark.slow
ANSWER = "".join(fake.WORDS)
COMMAND = [sys.executable, "-m", "llamastack.cli", "chat"]


@pytest.fixture(scope="module")
def upstream() -> Iterator[fake.Upstream]:
    """The tests wait for processes."""
    with fake.on_a_thread(fake.serving(fake.Upstream(models=[]))) as upstream:
        yield upstream


def run_yaml(file: Path, url: str, *models: str, default: str | None = None) -> Path:
    provider = {"provider_id": "one", "provider_type": "remote::openai", "config": {"base_url": url, "api_key": "k"}}
    entries = [{"model_id": name, "provider_id": "one", "default": name == default} for name in models]
    run = {"version": 2, "image_name": file.stem, "providers": {"inference": [provider]}}
    file.write_text(yaml.safe_dump(run | {"registered_resources": {"models": entries}}))
    return file


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chat") / "home"


@pytest.fixture(scope="module")
def server(home: Path, upstream: fake.Upstream) -> Iterator[Server]:
    file = run_yaml(home.parent / "run.yaml", upstream.url, "endless", "sky", "status-429", default="sky")
    with serving(file, home=home) as running:
        yield running


@pytest.fixture(scope="module")
def undecided(home: Path, upstream: fake.Upstream) -> Iterator[Server]:
    """A server without a default model."""
    with serving(run_yaml(home.parent / "several.yaml", upstream.url, "endless", "sky"), home=home) as running:
        yield running


def chat(home: Path, question: bytes, *arguments: str, url: str) -> "subprocess.CompletedProcess[bytes]":
    command = [*COMMAND, *arguments, "--url", url]
    return subprocess.run(command, input=question, env=environment(home), cwd=ROOT, capture_output=True, timeout=60)


def test_a_server_is_looked_for_at_the_port_that_the_environment_says(home: Path, server: Server) -> None:
    env = environment(home) | {"LLAMA_STACK_PORT": str(urlsplit(server.url).port)}
    done = subprocess.run(COMMAND, input=b"Why?", env=env, cwd=ROOT, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"The sky is blue.\n"), done.stderr


def test_a_pipe_is_one_question_and_only_the_answer_is_printed(
    home: Path, server: Server, upstream: fake.Upstream
) -> None:
    done = chat(home, b"Why is\nit blue?\n", "--system", "Be brief.", url=server.url)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"{ANSWER}\n", b"")
    assert upstream.requests[-1]["model"] == "sky"
    assert upstream.requests[-1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why is\nit blue?"},
    ]


@pytest.mark.parametrize(
    ("question", "arguments", "said"),
    [
        (b"", (), "standard input is empty"),
        (b"hi", ("skyy",), "Did you mean 'sky'?"),
        (b"hi", ("status-429",), "answered 429"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    home: Path, server: Server, question: bytes, arguments: tuple[str, ...], said: str
) -> None:
    done = chat(home, question, *arguments, url=server.url)
    assert (done.returncode, said in done.stderr.decode()) == (1, True), done.stderr
    assert b"Traceback" not in done.stderr


def test_a_server_that_is_not_there(home: Path) -> None:
    done = chat(home, b"hi", url=f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert b"The server cannot be reached at http://127.0.0.1:" in done.stderr


def test_without_a_default_a_pipe_has_to_name_the_model(home: Path, undecided: Server) -> None:
    done = chat(home, b"hi", url=undecided.url)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"llama chat MODEL, of endless, sky." in done.stderr
    assert chat(home, b"hi", "sky", url=f"{undecided.url}/v1/").stdout.decode() == f"{ANSWER}\n"


class Terminal:
    """`llama chat` in a terminal: what is typed, and what is shown."""

    def __init__(self, master: IO[bytes], process: "subprocess.Popen[bytes]") -> None:
        self.master, self.process = master, process

    def type(self, text: str) -> None:
        self.master.write(text.encode())

    def until(self, wanted: str) -> str:
        """What is shown from here up to `wanted`."""
        shown = b""
        while wanted.encode() not in shown:
            read = self.master.read(1)
            assert read, shown
            shown += read
        return shown.decode()

    def leave(self) -> int:
        """Ctrl-D, and the exit code."""
        self.type("\x04")
        return self.process.wait(20)


@contextmanager
def terminal(home: Path, url: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    env = environment(home, TERM="dumb")
    with closing(os.fdopen(ours, "r+b", buffering=0)) as master:
        process = subprocess.Popen(
            [*COMMAND, "--url", url], stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=ROOT
        )
        os.close(theirs)
        try:
            yield Terminal(master, process)
        finally:
            process.kill()
            process.wait()


def test_in_a_terminal_a_model_is_picked_ctrl_c_stops_the_answer_and_ctrl_d_leaves(
    home: Path, undecided: Server, upstream: fake.Upstream
) -> None:
    with terminal(home, undecided.url) as shown:
        assert "   1  endless" in shown.until("Model: ")
        shown.type("skyy\n")
        assert "did you mean 'sky'?" in shown.until("Model: ")
        shown.type("1\n")
        shown.until("> ")
        shown.type("hi\n")
        shown.until("more more")
        shown.process.send_signal(signal.SIGINT)
        shown.until("> ")
        upstream.wait_until_closed()
        assert shown.leave() == 0


def test_a_terminal_holds_a_conversation(home: Path, server: Server, upstream: fake.Upstream) -> None:
    with terminal(home, server.url) as shown:
        shown.until("> ")
        shown.type("one\n")
        assert ANSWER in shown.until("\n> ")
        shown.type("two\n")
        assert ANSWER in shown.until("\n> ")
        assert shown.leave() == 0
    assert [message["content"] for message in upstream.requests[-1]["messages"]] == ["one", ANSWER, "two"]
