"""From a configuration to Django: what is passed on in the environment, and Django's set-up."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from llamastack.config import Problem, StackConfig, database_url, load_config
from llamastack.config.lookup import find
from llamastack.config.sections import Cors
from llamastack.config.source import Source
from llamastack.config.storage import PRIVATE
from llamastack.config.vector_stores import default_provider
from llamastack.errors import StackError
from llamastack.recording import Tape

AUTHENTICATION = ("", "required")
SWITCH = ("", "0", "1")
JOBS = ("", "here", "workers", "worker")
REDIS_SCHEMES = ("redis", "rediss", "unix")
DATABASE_SCHEMES = ("sqlite", "postgres", "postgresql")
SETTINGS = "llamastack.settings"


class EnvironmentFault(StackError):
    """Something outside of the YAML keeps the stack from starting; the message says what to do."""


def read(source: str | Path) -> StackConfig:
    """The configuration of that name or file; `notes` has what it says to no effect. Raises ConfigError."""
    config = load_config(source)
    if config.server.cors is None:
        return config
    return config.model_copy(update={"notes": [*_cors_notes(config.server.cors, source), *config.notes]})


def _cors_notes(cors: Cors, source: str | Path) -> list[str]:
    """Refuse what is not built: without it, the server would not do what was asked for."""
    unbuilt = {
        "allow_origin_regex": cors.allow_origin_regex is not None,
        "allow_origins": "*" in cors.allow_origins,
        "allow_credentials": cors.allow_credentials,
        "expose_headers": bool(cors.expose_headers),
    }
    advice = "is not built yet: list the origins of your pages in allow_origins, one by one"
    problems = [
        Problem(f"{'*' if key == 'allow_origins' else key} {advice}", ("server", "cors", key))
        for key, present in unbuilt.items()
        if present
    ]
    if problems:
        raise Source.read(find(source)).error(problems)
    if cors.allow_headers or cors.allow_methods != Cors().allow_methods:
        return ["server.cors: pages of the listed origins may use every method and header of the API"]
    return []


def prepare(config: StackConfig, *, logs: bool = True) -> None:
    """Pass the configuration on to Django's settings and set Django up. Explicit variables win.

    Without `logs`, logging stays as the host program has it.
    """
    pass_on(config)
    os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
    _set_up(logs)


def pass_on(config: StackConfig) -> None:
    """What the configuration says to Django's settings, in the environment, where they read it."""
    if os.environ.get("LLAMA_STACK_AUTH", "") not in AUTHENTICATION:
        raise EnvironmentFault("LLAMA_STACK_AUTH is 'required', or it is not set.")
    if os.environ.get("LLAMA_STACK_FAST_LANE", "") not in SWITCH:
        raise EnvironmentFault("LLAMA_STACK_FAST_LANE is '0' or '1', or it is not set.")
    _check_redis()
    Tape.of(os.environ)  # a fault in it is told before anything starts
    url = reachable_url(config)
    if urlsplit(url).scheme not in DATABASE_SCHEMES:
        raise EnvironmentFault("DATABASE_URL must begin with sqlite:/// or postgresql://.")
    os.environ["DATABASE_URL"] = url
    if (file := database_file()) is not None:
        _make_folder(file.parent)
    vectors = default_provider(config, on_postgresql=urlsplit(url).scheme != "sqlite")
    if vectors is not None:
        os.environ.setdefault("LLAMA_STACK_VECTOR_PROVIDER", vectors)
    if not config.server.fast_lane:
        os.environ.setdefault("LLAMA_STACK_FAST_LANE", "0")
    if config.server.cors is not None:
        os.environ.setdefault("LLAMA_STACK_ALLOWED_ORIGINS", ",".join(config.server.cors.allow_origins))


def _check_redis() -> None:
    jobs, url = os.environ.get("LLAMA_STACK_JOBS", ""), os.environ.get("REDIS_URL", "")
    if jobs not in JOBS:
        raise EnvironmentFault("LLAMA_STACK_JOBS is 'here' or 'workers', or it is not set.")
    if jobs == "workers" and not url:
        raise EnvironmentFault("LLAMA_STACK_JOBS=workers: workers are told of jobs by Redis. Set REDIS_URL.")
    if url and urlsplit(url).scheme not in REDIS_SCHEMES:
        raise EnvironmentFault("REDIS_URL must begin with redis://, rediss:// or unix://.")


def reachable_url(config: StackConfig) -> str:
    """The address of the configuration's database; where that is a private one, it runs from now on."""
    url = database_url(config)
    if not url.startswith(PRIVATE):
        return url
    from llamastack import private

    return private.postgres(Path(url.removeprefix(PRIVATE)))


def _set_up(logs: bool) -> None:
    import django
    from django.apps import apps
    from django.conf import settings

    try:
        if not logs:
            settings.LOGGING_CONFIG = None
        if not apps.ready:
            django.setup()
    except OSError as error:
        raise EnvironmentFault(f"Cannot write to {error.filename}: {error.strerror}. Set LLAMA_STACK_HOME.") from None
    except ValueError as error:
        raise EnvironmentFault(f"A setting in the environment cannot be read: {error}") from None


def database_file() -> Path | None:
    """The file of an SQLite database."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    return Path(unquote(parts.path[1:])) if parts.scheme == "sqlite" else None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(f"Cannot make the folder {folder}: {error.strerror}. Set LLAMA_STACK_HOME.") from None
