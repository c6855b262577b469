"""Which provider a vector store is made on that names none."""

from pathlib import Path

import pytest

from llamastack.config import ConfigError, StackConfig, load_config
from llamastack.config.vector_stores import default_provider

POSTGRESQL = {"DATABASE_URL": "postgresql://one@db/llama"}
BOTH = """
  vector_io:
  - {provider_id: first, provider_type: "inline::sqlite-vec"}
  - {provider_id: memory, provider_type: "inline::faiss"}
  - {provider_id: tables, provider_type: "remote::pgvector"}
"""


def read(folder: Path, providers: str, rest: str = "") -> StackConfig:
    path = folder / "run.yaml"
    path.write_text(f"version: 2\nimage_name: test\napis: [vector_io]\nproviders:{providers}{rest}")
    return load_config(path, env={})


@pytest.mark.parametrize(("on_postgresql", "wanted"), [(True, "tables"), (False, "memory")])
def test_the_database_decides_where_none_is_named(tmp_path: Path, on_postgresql: bool, wanted: str) -> None:
    assert default_provider(read(tmp_path, BOTH), on_postgresql=on_postgresql) == wanted


@pytest.mark.parametrize("on_postgresql", [True, False])
def test_the_one_that_is_named_goes_before_the_databases(tmp_path: Path, on_postgresql: bool) -> None:
    config = read(tmp_path, BOTH, "vector_stores: {default_provider_id: first}\n")
    assert default_provider(config, on_postgresql=on_postgresql) == "first"


def test_where_the_databases_is_not_listed_it_is_the_first_that_can_serve(tmp_path: Path) -> None:
    listed = """
  vector_io:
  - {provider_id: shelf, provider_type: "remote::shelf", module: not.there}
  - {provider_id: file, provider_type: "inline::sqlite-vec"}
"""
    config = read(tmp_path, listed)
    able = [entry.provider_id for entry in config.providers["vector_io"] if entry.unavailable is None]
    assert default_provider(config, on_postgresql=True) == able[0]
    assert default_provider(read(tmp_path, " {}\n"), on_postgresql=True) is None


def test_a_default_that_is_no_provider_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, BOTH, "vector_stores:\n  default_provider_id: memroy\n")
    assert "run.yaml:10: vector_stores.default_provider_id: 'memroy' is no provider of vector_io that is on" in str(
        caught.value
    )
    assert "memory" in str(caught.value)


def test_a_key_that_nobody_knows_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="default_provider_id"):
        read(tmp_path, BOTH, "vector_stores: {default_provider: memory}\n")


def test_what_ogx_has_in_the_section_is_told_to_have_no_effect(tmp_path: Path) -> None:
    config = read(tmp_path, BOTH, "vector_stores: {chunk_retrieval_params: {rrf_impact_factor: 30}}\n")
    [note] = [note for note in config.notes if note.startswith("vector_stores")]
    assert note.startswith("vector_stores.chunk_retrieval_params: has no effect: a search says its mode")


@pytest.mark.parametrize("distribution", ["starter", "remote-only"])
def test_a_distribution_keeps_vectors_in_its_own_database_where_that_is_postgresql(distribution: str) -> None:
    config = load_config(distribution, env=POSTGRESQL)
    assert default_provider(config, on_postgresql=True) == "own-pgvector"
    config = load_config(distribution, env={"DATABASE_URL": "sqlite:////srv/llama.db"})
    assert default_provider(config, on_postgresql=False) == "faiss"
    assert "own-pgvector" not in [entry.provider_id for entry in config.providers["vector_io"]]


def test_postgres_demo_has_them_in_its_own_database() -> None:
    assert default_provider(load_config("postgres-demo", env={}), on_postgresql=True) == "pgvector"
