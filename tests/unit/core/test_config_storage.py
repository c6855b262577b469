"""`storage`: which database a run.yaml means, and stores on backends that cannot be."""

from pathlib import Path
from textwrap import dedent, indent

import pytest

from llamastack.config import ConfigError, StackConfig, database_url, load_config

POSTGRES = """\
backends:
  kv: {type: kv_postgres, host: "${env.H:=localhost}", user: "u@x", password: "${env.P:=p/w:d}", db: stack}
  sql: {type: sql_sqlite, db_path: data/sql.db}
stores:
  metadata: {backend: kv, namespace: registry}
  inference: {backend: sql, table_name: inference_store}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLAMA_STACK_HOME", str(tmp_path / "home"))


def config(storage: str, **env: str) -> StackConfig:
    Path("run.yaml").write_text("image_name: mine\nstorage:\n" + indent(dedent(storage), "  "))
    return load_config("run.yaml", env=env)


def test_without_a_backend_the_database_is_a_file_in_the_home_folder(tmp_path: Path) -> None:
    assert database_url(config(""), {}) == f"sqlite:///{tmp_path}/home/distributions/mine/llamastack.db"


def test_an_explicit_database_url_wins() -> None:
    assert database_url(config(POSTGRES), {"DATABASE_URL": "postgresql://x/y"}) == "postgresql://x/y"


def test_postgres_of_the_metadata_store_is_the_database_with_its_parts_quoted() -> None:
    read = config(POSTGRES)
    assert database_url(read, {}) == "postgresql://u%40x:p%2Fw%3Ad@localhost:5432/stack"
    assert read.notes == ["storage: all stores live in one database; that of the metadata store is taken (postgres)"]


def test_a_password_of_digits_stays_as_it_is() -> None:
    assert database_url(config(POSTGRES, P="00123", H="db"), {}) == "postgresql://u%40x:00123@db:5432/stack"


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ("host: '::1'", "postgresql://u@[::1]:5432/llamastack"),
        ("host: /run/postgresql", "postgresql://u@:5432/llamastack?host=%2Frun%2Fpostgresql"),
        (
            "ssl_mode: verify-full, ca_cert_path: /a b",
            "postgresql://u@localhost:5432/llamastack?sslmode=verify-full&sslrootcert=%2Fa+b",
        ),
    ],
)
def test_postgres_options_reach_the_url(options: str, url: str) -> None:
    assert database_url(config(f"backends: {{b: {{type: sql_postgres, user: u, {options}}}}}\n"), {}) == url


def test_sqlite_keeps_the_database_beside_the_file_that_is_named(tmp_path: Path) -> None:
    storage = "backends: {kv: {type: kv_sqlite, db_path: data/kv.db}}\nstores: {metadata: {backend: kv}}\n"
    assert database_url(config(storage), {}) == f"sqlite:///{tmp_path}/data/llamastack.db"


def test_the_seed_form_means_the_same(tmp_path: Path) -> None:
    assert database_url(config("type: sqlite\nconfig: {dir: /srv/data}\n"), {}) == "sqlite:////srv/data/llamastack.db"
    postgres = config("type: postgres\nconfig: {user: u, db: d}\n")
    assert database_url(postgres, {}) == "postgresql://u@localhost:5432/d"


@pytest.mark.parametrize("kind", ["redis", "mongodb"])
def test_redis_and_mongodb_map_to_the_database_with_a_note(kind: str) -> None:
    backends = f"{{kv: {{type: kv_{kind}}}, sql: {{type: sql_postgres, user: u}}}}"
    read = config(f"backends: {backends}\nstores: {{metadata: {{backend: kv}}}}\n")
    assert database_url(read, {}) == "postgresql://u@localhost:5432/llamastack"
    assert read.notes == [f"storage.backends.kv: kv_{kind} is not used; what it would hold lives in the database"]


def test_the_queue_of_the_inference_store_is_ours_with_a_note() -> None:
    store = "backends: {{sql: {{type: sql_sqlite}}}}\nstores: {{inference: {{backend: sql, num_writers: {}}}}}\n"
    assert config(store.format(4)).notes == []
    assert config(store.format(8)).notes == [
        "storage.stores.inference.num_writers has no effect: one writer commits all that has gathered at once"
    ]


@pytest.mark.parametrize(
    ("storage", "error"),
    [
        (
            "backends: {main: {type: kv_sqlite}}\nstores:\n  metadata: {backend: mian}\n",
            "5: storage.stores.metadata.backend: no backend of the name 'mian'; did you mean 'main'?",
        ),
        (
            "backends: {sql: {type: sql_sqlite}}\nstores:\n  metadata: {backend: sql}\n",
            "5: storage.stores.metadata.backend: this store needs a kv_… backend; 'sql' is sql_sqlite",
        ),
        (
            "backends: {kv: {type: kv_sqlite}}\nstores:\n  inference: {backend: kv}\n",
            "5: storage.stores.inference.backend: this store needs a sql_… backend; 'kv' is kv_sqlite",
        ),
        (
            "backends:\n  a:\n    type: sql_postgres\n    usr: u\n    user: u\n",
            "6: storage.backends.a.usr: unknown key; did you mean 'user'?",
        ),
        ("backends:\n  a: {type: sql_postgres}\n", "4: storage.backends.a.user: this key is required"),
        ("type: sqlite\nconfig: {dri: /x}\n", "4: storage.backends.kv_default.dri: unknown key"),
        ("type: oracle\n", "3: storage.type: unknown key"),
        ("type: {}\n", "3: storage.type: unknown key"),
        ("type: sqlite\nconfig: {dir: []}\n", "4: storage.backends.kv_default.dir: unknown key"),
    ],
)
def test_storage_that_cannot_be_is_an_error_with_its_line(storage: str, error: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config(storage)
    assert str(raised.value).splitlines()[0].startswith(f"run.yaml:{error}")
