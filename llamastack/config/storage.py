"""What a `storage` section means here: all stores live in one database, and this says in which."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

from llamastack.config.expand import Environment
from llamastack.config.sections import (
    Backend,
    KeyValueStore,
    MongodbBackend,
    PostgresBackend,
    QueuedSqlStore,
    RedisBackend,
    SqliteBackend,
    SqlStore,
    StackConfig,
    Storage,
    Store,
)
from llamastack.config.source import Problem
from llamastack.home import home
from llamastack.near import did_you_mean

DATABASE_FILE = "llamastack.db"
PRIVATE = "private:"  # the folder of a distribution's private PostgreSQL follows
POOL = {"pool_size", "max_overflow", "pool_recycle", "pool_pre_ping"}


def database_url(config: StackConfig, env: Environment | None = None) -> str:
    """DATABASE_URL where it is set, else where the metadata store's backend says, else a file in the home folder.

    It begins with PRIVATE where the backend is a private PostgreSQL.
    """
    explicit = (os.environ if env is None else env).get("DATABASE_URL")
    if explicit:
        return explicit
    backend = deciding_backend(config.storage)
    folder = home() / "distributions" / config.image_name
    if isinstance(backend, PostgresBackend):
        named = {"connection_string", "host"} & backend.model_fields_set
        return _postgres_url(backend) if named or not backend.private else f"{PRIVATE}{folder}"
    if backend is not None and backend.db_path:
        folder = Path(backend.db_path).expanduser().absolute().parent
    return f"sqlite:///{quote(str(folder / DATABASE_FILE))}"


def deciding_backend(storage: Storage) -> SqliteBackend | PostgresBackend | None:
    """The backend of the metadata store, or the next store's where that one is Redis or MongoDB."""
    named = [storage.backends[store.backend] for store in storage.stores.named().values()]
    for backend in [*named, *storage.backends.values()]:
        if isinstance(backend, SqliteBackend | PostgresBackend):
            return backend
    return None


def _postgres_url(backend: PostgresBackend) -> str:
    if backend.connection_string:
        return backend.connection_string
    socket = backend.host.startswith("/")
    host = "" if socket else f"[{backend.host}]" if ":" in backend.host else backend.host
    password = f":{quote(backend.password, safe='')}" if backend.password else ""
    options = {
        "host": backend.host if socket else None,
        "sslmode": backend.ssl_mode,
        "sslrootcert": backend.ca_cert_path,
    }
    query = urlencode({name: value for name, value in options.items() if value})
    address = f"{quote(backend.user, safe='')}{password}@{host}:{backend.port}/{quote(backend.db, safe='')}"
    return f"postgresql://{address}{'?' * bool(query)}{query}"


def check_storage(storage: Storage) -> Iterator[Problem]:
    """Stores on backends that do not exist or are of the wrong family."""
    for name, store in storage.stores.named().items():
        place = ("storage", "stores", name, "backend")
        backend = storage.backends.get(store.backend)
        if backend is None:
            near = did_you_mean(store.backend, storage.backends)
            yield Problem(f"no backend of the name '{store.backend}'{near}", place)
        elif not backend.type.startswith(_family(store)):
            yield Problem(f"this store needs a {_family(store)}… backend; '{store.backend}' is {backend.type}", place)


def _family(store: Store) -> str:
    return "kv_" if isinstance(store, KeyValueStore) else "sql_" if isinstance(store, SqlStore) else ""


def storage_notes(storage: Storage) -> Iterator[str]:
    for name, backend in storage.backends.items():
        if isinstance(backend, RedisBackend | MongodbBackend):
            yield f"storage.backends.{name}: {backend.type} is not used; what it would hold lives in the database"
        if backend.model_fields_set & POOL:
            told = ", ".join(sorted(backend.model_fields_set & POOL))
            yield f"storage.backends.{name}: no effect of {told}: the pool is the server's own"
    if len({_product(backend) for backend in storage.backends.values()} & {"sqlite", "postgres"}) == 2:
        chosen = deciding_backend(storage)
        yield f"storage: all stores live in one database; that of the metadata store is taken ({_product(chosen)})"
    defaults = QueuedSqlStore(backend="")
    store = storage.stores.inference or defaults
    for name in ("max_write_queue_size", "num_writers"):
        if getattr(store, name) != getattr(defaults, name):
            yield f"storage.stores.inference.{name} has no effect: one writer commits all that has gathered at once"


def _product(backend: Backend | None) -> str:
    return backend.type.partition("_")[2] if backend else ""
