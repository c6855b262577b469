"""`llama worker` and `llama beat`: long work in processes of its own, which are told of it by Redis."""

import os
import signal
from enum import StrEnum
from importlib import import_module
from typing import Annotated

import typer

from llamastack import database
from llamastack.cli import complete, environment
from llamastack.cli.run import CONFIG_VARIABLES, DEFAULT_CONFIG, exclusive, leave
from llamastack.config import StackConfig
from llamastack.environment import EnvironmentFault

CONCURRENCY = 8


class QueueName(StrEnum):
    default = "default"
    gpu = "gpu"


Queues = Annotated[
    list[QueueName] | None, typer.Option("--queue", help="Whose jobs it does; may be given twice. [default: default]")
]
Concurrency = Annotated[int, typer.Option(help="Jobs that it does at once.", min=1, max=256)]
Config = Annotated[
    str,
    typer.Option(
        help="The distribution or file that the server runs.",
        envvar=CONFIG_VARIABLES,
        autocompletion=complete.distributions,
    ),
]


def worker(queue: Queues = None, concurrency: Concurrency = CONCURRENCY, config: Config = DEFAULT_CONFIG) -> None:
    """Do the jobs of a server: those of one queue, several at once."""
    stack = _read(config)
    if not os.environ.get("REDIS_URL"):
        raise EnvironmentFault(
            "`llama worker` needs Redis: start one and set REDIS_URL, here and for the server. "
            "Without it the server does its jobs itself, and there is nothing to start."
        )
    refuse_exclusive(stack)
    os.environ["LLAMA_STACK_JOBS"] = "worker"
    database.open_tables(stack)
    queues = list(dict.fromkeys(queue or [QueueName.default]))
    import_module("llamastack.cli.on_celery").work([name.value for name in queues], concurrency)


def beat(config: Config = DEFAULT_CONFIG) -> None:
    """Make the jobs of the schedules that stand in the admin, each at its time. One of it is enough."""
    database.open_tables(_read(config))
    import_module("llamastack.cli.on_beat").work()


def _read(config: str) -> StackConfig:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    return environment.read(config)


def refuse_exclusive(config: StackConfig) -> None:
    """What keeps its state in one process is the server's, and cannot be a worker's too."""
    if names := exclusive(config):
        raise EnvironmentFault(
            f"`llama worker`: {', '.join(names)} keep their state in one process, which is the server's. Leave them "
            "out, as the distribution remote-only does, and reach models on a server of their own; or set "
            "LLAMA_STACK_JOBS=here for the server, which does its jobs itself then, without workers."
        )
