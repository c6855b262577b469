"""One server for the suite, and which of its models are asked.

Without options it is that of stack.yaml, and its upstream is replayed from recordings/. LLAMA_STACK_TEST_INFERENCE_MODE
and LLAMA_STACK_TEST_RECORDING_DIR say otherwise; --stack-config names another distribution, file or URL.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import openai
import pytest

from llamastack.recording import Mode
from llamastack.recording.tape import FOLDER, MODE
from tests import plugin
from tests.servers import ANSWER_SECONDS, serving

HERE = Path(__file__).parent
STACK = HERE / "stack.yaml"
PROVIDERS = ("openai", "vllm", "llama-openai-compat", "llama-cpp-server")
TEXT_MODEL = "SmolLM2-135M-Instruct"
EMBEDDING_MODEL = "openai/vectors"
LISTED_SECONDS = 60
KEY = "LLAMA_STACK_API_KEY"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What is about replaying knows stack.yaml alone."""
    return True if config.getoption("--stack-config") and collection_path.name == "test_replay.py" else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of a chat model runs on each provider of stack.yaml, or on the one model of another stack."""
    if "text_model" in metafunc.fixturenames:
        given = metafunc.config.getoption("--text-model")
        names = [f"{provider}/{TEXT_MODEL}" for provider in PROVIDERS]
        other = metafunc.config.getoption("--stack-config") is not None
        metafunc.parametrize("text_model", [given] if given or other else names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def mode(request: pytest.FixtureRequest) -> Mode:
    """Of another stack than ours nothing is recorded yet."""
    other = request.config.getoption("--stack-config") is not None
    return Mode(plugin.GIVEN.get(MODE) or (Mode.live if other else Mode.replay))


@pytest.fixture(scope="session")
def variables(mode: Mode) -> dict[str, str]:
    """What a server, or a program, is told of the tape."""
    folder = Path(plugin.GIVEN.get(FOLDER) or HERE / "recordings").absolute()
    return {MODE: mode, FOLDER: str(folder)}


@pytest.fixture(scope="session")
def listener() -> Iterator[socket.socket]:
    """Where the upstream would be. Who connects is kept waiting, and so found."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.setblocking(False)
        yield listener


@pytest.fixture(scope="session")
def upstream(mode: Mode, listener: socket.socket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the local models, or in a replay one where nobody answers."""
    if mode is Mode.replay:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        return
    with serving("starter", home=tmp_path_factory.mktemp("upstream")) as server:
        yield f"{server.url}/v1"


@pytest.fixture(scope="session")
def url(
    request: pytest.FixtureRequest, variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where the stack under test answers."""
    config = request.config.getoption("--stack-config")
    if config is not None and config.startswith(("http://", "https://")):
        yield config.rstrip("/").removesuffix("/v1")
        return
    with ExitStack() as stack:
        if config is None:
            env = variables | {"INTEGRATION_UPSTREAM": request.getfixturevalue("upstream")}
            wanted = [f"{provider}/{TEXT_MODEL}" for provider in PROVIDERS]
        else:
            env, wanted = variables, [request.config.getoption("--text-model") or ""]
        server = stack.enter_context(serving(config or STACK, home=tmp_path_factory.mktemp("stack"), env=env))
        wait_for_models(server.url, wanted)
        yield server.url


def wait_for_models(url: str, wanted: list[str]) -> None:
    """The server is ready before it has asked its providers for their models."""
    began = time.monotonic()
    while not all(name in (listed := httpx.get(f"{url}/v1/models", timeout=ANSWER_SECONDS).text) for name in wanted):
        assert time.monotonic() - began < LISTED_SECONDS, f"{wanted} are not all of {listed}"
        time.sleep(0.05)


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    key = os.environ.get(KEY) or plugin.GIVEN.get(KEY) or "any"
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def text_model(request: pytest.FixtureRequest, url: str) -> str:
    return request.param or first_of(url, "llm", "--text-model")


@pytest.fixture(scope="session")
def embedding_model(request: pytest.FixtureRequest, url: str) -> str:
    if request.config.getoption("--stack-config") is None:
        return EMBEDDING_MODEL
    return request.config.getoption("--embedding-model") or first_of(url, "embedding", "--embedding-model")


def first_of(url: str, model_type: str, option: str) -> str:
    """A model of that type which the stack lists."""
    key = plugin.GIVEN.get(KEY)
    listed = httpx.get(
        f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"} if key else {}, timeout=ANSWER_SECONDS
    ).json()["data"]
    found = [model["id"] for model in listed if model["model_type"] == model_type]
    assert found, f"{url} lists no model of the type {model_type}: name one by {option}."
    name: str = found[0]
    return name
