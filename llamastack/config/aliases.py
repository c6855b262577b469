"""Older and other spellings of a run.yaml's keys, moved to where 0.3.5 has them."""

from typing import Any

from llamastack.config.source import Place, Problem, Source, spell

RESOURCES = "registered_resources"
RESOURCE_LISTS = ("models", "shields", "vector_stores", "datasets", "scoring_fns", "benchmarks", "tool_groups")

ALIASES: dict[str, Place] = {
    "distro_name": ("image_name",),
    "logging_config": ("logging",),
    "vector_stores_config": ("vector_stores",),
    "host": ("server", "host"),
    "port": ("server", "port"),
    "default_models": (RESOURCES, "models"),
    **{name: (RESOURCES, name) for name in RESOURCE_LISTS if name != "vector_stores"},
}

SEED_BACKENDS = {"sqlite": ("kv_sqlite", "sql_sqlite"), "postgres": ("kv_postgres", "sql_postgres")}


def normalise(source: Source, notes: list[str]) -> list[Problem]:
    """Moves what stands under another name; lines stay right, since errors must name them."""
    problems = [problem for name, new in ALIASES.items() for problem in _move(source, name, new)]
    _drop_vector_dbs(source.data, notes)
    _drop_vector_dbs(source.data.get(RESOURCES), notes)
    _spell_out_storage(source)
    return problems


def _move(source: Source, name: str, new: Place) -> list[Problem]:
    value = source.data.pop(name, None)
    if value is None or value == []:
        return []
    owner: Any = source.data
    for part in new[:-1]:
        if owner.get(part) is None:
            owner[part] = {}
        owner = owner[part]
        if not isinstance(owner, dict):
            return []
    if owner.get(str(new[-1])) not in (None, []):
        return [Problem(f"given twice: also as {spell(new)}", (name,))]
    owner[new[-1]] = value
    source.move((name,), new)
    return []


def _drop_vector_dbs(owner: Any, notes: list[str]) -> None:
    if isinstance(owner, dict) and owner.pop("vector_dbs", None):
        notes.append("vector_dbs: an old list that nothing reads; vector stores are made by the API")


def _spell_out_storage(source: Source) -> None:
    """`{type: sqlite, config: {dir: …}}` -> backends and stores, as 0.3.5 names them."""
    storage = source.data.get("storage")
    if not isinstance(storage, dict) or set(storage) - {"type", "config"}:
        return
    kinds = SEED_BACKENDS.get(str(storage.get("type")))
    if kinds is None:
        return
    key_value, sql = kinds
    config = storage.get("config") or {}
    if not isinstance(config, dict):
        return
    files = {"kv_default": "kvstore.db", "sql_default": "sql_store.db"}
    backends = {
        name: {"type": kind, **_with_path(config, files[name])}
        for name, kind in (("kv_default", key_value), ("sql_default", sql))
    }
    source.data["storage"] = {"backends": backends, "stores": {"metadata": {"backend": "kv_default"}}}
    for name in backends:
        source.move(("storage", "config"), ("storage", "backends", name))


def _with_path(config: dict[str, Any], file: str) -> dict[str, Any]:
    if not isinstance(config.get("dir"), str):
        return config
    rest = {key: value for key, value in config.items() if key != "dir"}
    return {**rest, "db_path": f"{config['dir']}/{file}"}
