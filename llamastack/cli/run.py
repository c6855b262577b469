"""`llama stack run`: from a YAML to a server that answers."""

import json
import os
import shlex
import signal
import sys
from enum import StrEnum
from functools import partial
from importlib import import_module
from types import FrameType
from typing import Annotated

import typer
from rich.markup import escape

from llamastack import __version__, database
from llamastack.apis import Api
from llamastack.cli import address as addresses
from llamastack.cli import complete, environment
from llamastack.cli.console import say, warn
from llamastack.cli.weights import fetch_missing
from llamastack.config import ProviderEntry, StackConfig
from llamastack.environment import EnvironmentFault
from llamastack.home import home
from llamastack.providers import find
from llamastack.stack import WORKERS

DEFAULT_CONFIG = "starter"
DEFAULT_HOST = "127.0.0.1"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
PAGES = {"Playground": "/", "Admin": "/admin/", "Docs": "/docs", "API": "/v1"}
AGAIN_SECONDS = 0.05
CONFIG_VARIABLES = ["LLAMA_STACK_CONFIG", "CONFIG"]


class Left(SystemExit):
    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


class ServerName(StrEnum):
    uvicorn = "uvicorn"
    daphne = "daphne"


SERVERS = {ServerName.uvicorn: "llamastack.cli.on_uvicorn", ServerName.daphne: "llamastack.cli.on_daphne"}

Config = Annotated[
    str,
    typer.Argument(
        help="A distribution's name, or a file.", envvar=CONFIG_VARIABLES, autocompletion=complete.distributions
    ),
]
Port = Annotated[int | None, typer.Option(help="0 takes a free one.", envvar="LLAMA_STACK_PORT", min=0, max=65535)]
Host = Annotated[str | None, typer.Option(help=f"The address to listen on; {DEFAULT_HOST} unless the file says more.")]
ServerOption = Annotated[ServerName, typer.Option("--server", help="The ASGI server.")]
Workers = Annotated[int | None, typer.Option(help="Processes that serve; 1 unless the file says more.", min=1)]


def run(
    config: Config = DEFAULT_CONFIG,
    port: Port = None,
    host: Host = None,
    server: ServerOption = ServerName.uvicorn,
    workers: Workers = None,
) -> None:
    """Serve a distribution or a file: migrates the database, fetches local models, then listens."""
    sys.unraisablehook = leave_all_the_same
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    stack = environment.read(config)
    count = workers or stack.server.workers
    refuse_workers(stack, count, server)
    address = addresses.take(host or stack.server.host or DEFAULT_HOST, stack.server.port if port is None else port)
    allow_host(address.host)
    prepare(stack, config)
    fetch_missing(stack)

    # A server, and Django's settings with it, are worth their import only from here on.
    ready = partial(announce, address, stack, config, count)
    if count > 1:
        import_module("llamastack.cli.workers").serve(address, ready, count)
    else:
        import_module(SERVERS[server]).serve(address, ready)


def leave(number: int, frame: FrameType | None) -> None:
    """Before the server runs, a signal ends the process, and what it started with it."""
    raise Left(number)


def leave_all_the_same(ignored: "sys.UnraisableHookArgs") -> None:
    """What is raised in a destructor is ignored, and a signal may arrive in one: it comes again a moment later."""
    if not isinstance(ignored.exc_value, Left):
        sys.__unraisablehook__(ignored)
        return
    number = ignored.exc_value.number
    signal.signal(signal.SIGALRM, lambda _, frame: leave(number, frame))
    signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)


def refuse_workers(config: StackConfig, workers: int, server: ServerName) -> None:
    """Some providers run in one process alone, and so does daphne."""
    if workers == 1:
        return
    if server is not ServerName.uvicorn:
        raise EnvironmentFault(f"--server {server} serves in one process: leave it out, or --workers {workers}.")
    if names := exclusive(config):
        raise EnvironmentFault(
            f"--workers {workers}: {', '.join(names)} keep their state in one process. Serve with --workers 1, or "
            "leave them out, as the distribution remote-only does, and reach models on a server of their own."
        )


def exclusive(config: StackConfig) -> list[str]:
    """The providers whose state lives in one process."""
    return [provider.provider_id for provider in _enabled(config) if _is_exclusive(provider)]


def _enabled(config: StackConfig) -> list[ProviderEntry]:
    return [entry for entries in config.providers.values() for entry in entries if entry.unavailable is None]


def _is_exclusive(provider: ProviderEntry) -> bool:
    spec = find(Api(provider.api), provider.provider_type, provider.module)
    return spec is not None and spec.exclusive


def allow_host(host: str) -> None:
    """Requests that name the host it listens on are answered; for all addresses, the operator has to say the names."""
    if os.environ.get("LLAMA_STACK_ALLOWED_HOSTS"):
        return
    if host in addresses.WILDCARDS:
        warn("Only requests to localhost are answered: set LLAMA_STACK_ALLOWED_HOSTS to the names this server has.")
    elif host not in LOOPBACK_NAMES:
        named = f"[{host}]" if ":" in host else host
        os.environ["LLAMA_STACK_ALLOWED_HOSTS"] = f"localhost,127.0.0.1,[::1],{named}"


def prepare(config: StackConfig, source: str = DEFAULT_CONFIG) -> None:
    """Django, the tables, the first credentials and the YAML's rows. Two processes at once take turns."""
    show(database.prepare_server(config), source)


def show(credentials: database.Credentials, source: str) -> None:
    """At once, so that whatever follows cannot lose what is told only here."""
    if credentials.password:
        say(f"First admin: user [bold]admin[/bold], password [bold]{escape(credentials.password)}[/bold]")
    if credentials.key:
        say(f"First API key: [bold]{escape(credentials.key)}[/bold]")
    if credentials.password or credentials.key:
        named = escape(as_named(source))
        say(f"Keep them: they are shown only now. `llama key create NAME{named}` makes further keys.")


def as_named(source: str) -> str:
    """What a command says of it, where it is not the default."""
    return "" if source == DEFAULT_CONFIG else f" --config {shlex.quote(source)}"


def announce(address: addresses.Address, config: StackConfig, source: str, workers: int) -> None:
    """What answers now, and where."""
    from llamastack import settings

    by = f" by {workers} workers" if workers > 1 else ""
    say(
        f"[green]Llama Stack {__version__} serves {escape(config.image_name)}[/green]{by}, "
        f"state in {escape(str(home()))}"
    )
    for name, path in PAGES.items():
        say(f"  {name:<11}{address.url}{path}")
    if settings.JOBS == WORKERS:
        say(f"Long work, such as batches, is done by workers: start one with `llama worker{escape(as_named(source))}`.")
    say(f"Try it:\n  {escape(curl(address.url, config))}\nCtrl-C stops it.")


def curl(url: str, config: StackConfig) -> str:
    """A first request, to a chat model where the file registers one."""
    required = os.environ.get("LLAMA_STACK_AUTH") == "required"
    key = ' -H "Authorization: Bearer $LLAMA_STACK_API_KEY"' if required else ""
    model = next((m.model_id for m in config.registered_resources.models if m.model_type == "llm"), None)
    if model is None:
        return f"curl {url}/v1/models{key}"
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "What is the capital of France?"}]})
    return f"curl {url}/v1/chat/completions{key} -H 'Content-Type: application/json' -d {shlex.quote(body)}"
