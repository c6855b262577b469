"""The database before a Stack starts: brought up to date under one lock, for a server with a first admin and key."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llamastack import environment
from llamastack.config import StackConfig
from llamastack.environment import EnvironmentFault, database_file

LOCK = 8_321_000_001  # any number that no other program takes as an advisory lock in this database
CONNECT_SECONDS = 5


@dataclass(frozen=True)
class Credentials:
    """What is told once: the first admin's password and the first API key, where they were made now."""

    password: str | None = None
    key: str | None = None


def prepare_server(config: StackConfig) -> Credentials:
    """Bring everything up to date that a server stands on. Raises EnvironmentFault: then nothing must be served."""
    environment.prepare(config)
    with usable(), locked():
        migrate()
        credentials = first_credentials()
        apply(config)
    return credentials


def prepare_embedded(config: StackConfig) -> None:
    """The same for a Stack inside another program: it has nobody to tell a password, and its logging is its own."""
    environment.prepare(config, logs=False)
    with usable(), locked():
        migrate()
        apply(config)


def open_tables(config: StackConfig) -> None:
    """Django on the configuration's database, for a command: its tables up to date, and nothing applied."""
    environment.prepare(config)
    with usable(), locked():
        migrate()


@contextmanager
def usable() -> Iterator[None]:
    """What a database can refuse, as one sentence."""
    from django.db import Error, connections

    try:
        yield
    except Error as error:
        raise EnvironmentFault(f"The database cannot be used: {_line(error)}. Nothing is served.") from error
    finally:
        connections.close_all()  # the server's threads open their own


@contextmanager
def locked() -> Iterator[None]:
    """Wait until no other process prepares this database, and hold the others off."""
    file = database_file()
    if file is None:
        with _advisory_lock():
            yield
        return
    try:
        lock = file.with_suffix(".lock").open("w")
    except OSError as error:
        raise EnvironmentFault(f"The database's folder {file.parent} cannot be used: {error.strerror}.") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _advisory_lock() -> Iterator[None]:
    """PostgreSQL's lock of a session: it goes with the connection, however this process ends."""
    import psycopg

    try:
        connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, connect_timeout=CONNECT_SECONDS)
    except psycopg.Error as error:
        raise EnvironmentFault(f"The database of DATABASE_URL cannot be reached: {_line(error)}") from None
    with connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        yield


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def migrate() -> None:
    """Bring the tables up to date."""
    from django.core.management import call_command
    from django.db import Error, connection
    from django.db.migrations.exceptions import InconsistentMigrationHistory
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return
    try:
        call_command("migrate", verbosity=0, interactive=False)
    except (Error, InconsistentMigrationHistory) as error:
        raise EnvironmentFault(f"The database cannot be migrated: {_line(error)}. Nothing is served.") from error


def first_credentials() -> Credentials:
    """An admin and an API key, each where there is none yet."""
    from apps.access.models import ApiKey, User

    password = key = None
    if not User.objects.exists():
        password = secrets.token_urlsafe(12)
        User.objects.create_superuser("admin", password=password)
    if not ApiKey.objects.exists():
        _, key = ApiKey.issue("first key", owner="admin", admin=True)
    return Credentials(password, key)


def apply(config: StackConfig) -> None:
    """Make the YAML's rows say what the YAML says."""
    from apps.registry import service

    service.apply(config)
