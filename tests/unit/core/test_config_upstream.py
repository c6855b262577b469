"""A run.yaml as 0.3.5 writes it starts here: what is not built is kept, with one note a section."""

import random
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml

from llamastack.config import ConfigError, Place, database_url, load_config

STARTER = """\
    version: 2
    image_name: starter
    apis: [agents, batches, datasetio, eval, files, inference, post_training, safety, scoring, tool_runtime, vector_io]
    providers:
      inference:
      - provider_id: ${env.CEREBRAS_API_KEY:+cerebras}
        provider_type: remote::cerebras
        config: {base_url: "https://api.cerebras.ai", api_key: "${env.CEREBRAS_API_KEY:=}"}
      - provider_id: ${env.AZURE_API_KEY:+azure}
        provider_type: remote::azure
        config: {api_base: "${env.AZURE_API_BASE:=}", api_type: "${env.AZURE_API_TYPE:=}"}
      - provider_id: bedrock
        provider_type: remote::bedrock
      - provider_id: groq
        provider_type: remote::groq
        config: {url: "https://api.groq.com", api_key: "${env.GROQ_API_KEY:=}"}
      vector_io:
      - provider_id: faiss
        provider_type: inline::faiss
        config: {persistence: {namespace: "vector_io::faiss", backend: kv_default}}
      - provider_id: ${env.PGVECTOR_DB:+pgvector}
        provider_type: remote::pgvector
        config: {port: "${env.PGVECTOR_PORT:=5432}", db: "${env.PGVECTOR_DB:=}"}
      files:
      - provider_id: meta-reference-files
        provider_type: inline::localfs
        config:
          storage_dir: ${env.FILES_STORAGE_DIR:=~/.llama/distributions/starter/files}
          metadata_store: {table_name: files_metadata, backend: sql_default}
      safety:
      - {provider_id: llama-guard, provider_type: "inline::llama-guard", config: {excluded_categories: []}}
      agents:
      - provider_id: meta-reference
        provider_type: inline::meta-reference
        config:
          persistence:
            agent_state: {namespace: agents, backend: kv_default}
            responses: {table_name: responses, backend: sql_default, max_write_queue_size: 10000, num_writers: 4}
      tool_runtime:
      - {provider_id: tavily-search, provider_type: "remote::tavily-search", config: {max_results: 3}}
    storage:
      backends:
        kv_default: {type: kv_sqlite, db_path: "${env.SQLITE_STORE_DIR:=~/.llama/distributions/starter}/kvstore.db"}
        sql_default: {type: sql_sqlite, db_path: "${env.SQLITE_STORE_DIR:=~/.llama/distributions/starter}/sql_store.db"}
      stores:
        metadata: {namespace: registry, backend: kv_default}
        inference: {table_name: inference_store, backend: sql_default, max_write_queue_size: 10000, num_writers: 4}
        conversations: {table_name: openai_conversations, backend: sql_default}
    registered_resources:
      models: []
      shields:
      - shield_id: llama-guard
        provider_id: ${env.SAFETY_MODEL:+llama-guard}
        provider_shield_id: ${env.SAFETY_MODEL:=}
      vector_dbs: []
      datasets: []
      scoring_fns: []
      benchmarks: []
      tool_groups:
      - {toolgroup_id: "builtin::websearch", provider_id: tavily-search}
    server: {port: 8321}
    telemetry: {enabled: true}
    vector_stores:
      default_provider_id: faiss
      default_embedding_model: {provider_id: sentence-transformers, model_id: nomic-ai/nomic-embed-text-v1.5}
    """


BUILT = ("bedrock", "groq", "meta-reference-files", "faiss")


def test_a_file_of_0_3_5_is_read_and_what_is_not_built_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(dedent(STARTER))
    config = load_config(path, env={"SQLITE_STORE_DIR": "/srv"})
    assert [entry.provider_id for entry in config.providers["inference"]] == ["bedrock", "groq"]
    unavailable = {entry.provider_id: entry.unavailable for entries in config.providers.values() for entry in entries}
    assert [unavailable.pop(name) for name in BUILT] == [None] * len(BUILT)
    assert set(unavailable.values()) == {"not built yet"}
    assert config.registered_resources.shields == []
    assert database_url(config, {}) == "sqlite:////srv/llamastack.db"
    assert not any(note.startswith("providers.inference") for note in config.notes)
    assert [note.partition(":")[0] for note in config.notes[-3:]] == [
        "apis",
        "registered_resources.tool_groups",
        "telemetry",
    ]


OGX = """\
    version: 2
    distro_name: starter
    apis: [batches, inference, messages, responses, skills, systemone, tool_runtime]
    providers:
      inference:
      - provider_id: meta
        provider_type: remote::meta
        config: {base_url: "https://api.meta.ai/v1", api_key: "${env.META_API_KEY:=}"}
      - provider_id: gemini
        provider_type: remote::gemini
        config: {api_key: "${env.GEMINI_API_KEY:=}", access_token: "${env.GEMINI_ACCESS_TOKEN:=}"}
      skills:
      - {provider_id: builtin, provider_type: "inline::builtin", config: {persistence: {backend: kv_default}}}
      systemone:
      - {provider_id: typesafe, provider_type: "remote::typesafe", config: {base_url: "https://api.typesafe.ai"}}
      tool_runtime:
      - {provider_id: nimble-search, provider_type: "remote::nimble-search", config: {search_depth: lite}}
    storage:
      backends:
        kv_default:
          type: kv_postgres
          connection_string: ${env.POSTGRES_CONNECTION_STRING:=postgresql://ogx:ogx@localhost:5432/ogx}
          table_name: ${env.POSTGRES_TABLE_NAME:=ogx_kvstore}
        sql_default:
          type: sql_postgres
          connection_string: ${env.POSTGRES_CONNECTION_STRING:=postgresql://ogx:ogx@localhost:5432/ogx}
          pool_size: ${env.POSTGRES_POOL_SIZE:=10}
          pool_pre_ping: ${env.POSTGRES_POOL_PRE_PING:=true}
      stores:
        metadata: {namespace: registry, backend: kv_default}
        inference: {table_name: inference_store, backend: sql_default, enabled: true}
        prompts: {table_name: prompts, backend: sql_default}
        connectors: {table_name: connectors, backend: sql_default}
    registered_resources:
      models:
      - {metadata: {}, model_id: claude-haiku, provider_id: all, provider_model_id: auto, model_type: llm}
      vector_stores: []
    vector_stores:
      default_provider_id: faiss
      default_reranker_model: {provider_id: sentence-transformers, model_id: Qwen/Qwen3-Reranker-0.6B}
    connectors: []
    """


def test_a_file_of_ogx_is_read_and_what_is_not_built_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(dedent(OGX))
    config = load_config(path, env={})
    assert [(entry.provider_id, entry.unavailable) for entry in config.providers["inference"]] == [
        ("meta", "not built yet"),
        ("gemini", None),
    ]
    assert database_url(config, {}) == "postgresql://ogx:ogx@localhost:5432/ogx"
    assert config.notes == [
        "providers.inference: unavailable: meta (not built yet)",
        "providers.skills: unavailable: builtin (not built yet)",
        "providers.systemone: unavailable: typesafe (not built yet)",
        "providers.tool_runtime: unavailable: nimble-search (not built yet)",
        "model claude-haiku is not registered: provider 'all' is not enabled",
        "apis: not built yet and answered with 404: messages, responses, skills, systemone, tool_runtime",
        "vector_stores.default_reranker_model: has no effect: a search names its rerank model in ranking_options",
        "storage.backends.sql_default: no effect of pool_pre_ping, pool_size: the pool is the server's own",
    ]


WRONG: tuple[Any, ...] = (
    None,
    "",
    0,
    -1.5,
    True,
    "${env.X}",
    "${env.X:=}",
    "${env.X:=5}",
    [],
    {},
    [None],
    [[]],
    {"a": 1},
    "a" * 300,
)


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*place, key))


@pytest.mark.parametrize("seed", range(60))
def test_a_file_with_anything_in_the_wrong_place_is_read_or_refused_with_lines(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    document = yaml.safe_load(dedent(STARTER))
    *inner, last = chance.choice(list(places(document))[1:])
    owner = document
    for key in inner:
        owner = owner[key]
    owner[last] = chance.choice(WRONG)
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(document))
    try:
        assert database_url(load_config(path, env={}), {}).startswith("sqlite:///")
    except ConfigError as error:
        assert all(problem.line and problem.message for problem in error.problems)  # noqa: PT017
