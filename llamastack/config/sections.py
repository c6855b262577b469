"""The sections of a run.yaml, version 2, as pydantic models. Values are already expanded when they come here."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from llamastack.config.homes import Affinity, ModelHome
from llamastack.model_facts import problem_in


class Section(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def drop_nothing(cls, data: Any) -> Any:
        """An empty value, as an unset variable leaves it, is the same as no value where there is a default."""
        if not isinstance(data, dict):
            return data
        defaulted = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {key: value for key, value in data.items() if value is not None or key not in defaulted}


class Cors(Section):
    allow_origins: list[str] = []
    allow_origin_regex: str | None = None
    allow_methods: list[str] = ["OPTIONS"]
    allow_headers: list[str] = []
    allow_credentials: bool = False
    expose_headers: list[str] = []
    max_age: int = Field(default=600, ge=0)

    @model_validator(mode="after")
    def check_credentials(self) -> Self:
        if self.allow_credentials and "*" in self.allow_origins:
            raise ValueError("allow_credentials cannot go with the origin '*': list the origins")
        return self


LOCAL_CORS = {
    "allow_origin_regex": r"https?://localhost:\d+",
    "allow_methods": ["GET", "POST", "PUT", "DELETE", "OPTIONS"],
    "allow_headers": ["Content-Type", "Authorization", "X-Requested-With"],
}

NOT_BUILT_SERVER_KEYS = {
    "auth": "authentication from the file is not built yet: API keys are made with `llama key create`",
    "quota": "quotas are not built yet",
    "tls_keyfile": "TLS is not built yet: put a proxy that speaks it in front",
    "tls_certfile": "TLS is not built yet: put a proxy that speaks it in front",
    "tls_cafile": "TLS is not built yet: put a proxy that speaks it in front",
}


class Server(Section):
    """The HTTP server. What is not built yet is refused, since serving without it would not be what was asked for."""

    port: int = Field(default=8321, ge=1024, le=65535)
    host: str | None = None
    workers: int = Field(default=1, ge=1)
    fast_lane: bool = True
    tls_keyfile: None = None
    tls_certfile: None = None
    tls_cafile: None = None
    auth: None = None
    quota: None = None
    cors: Cors | None = None

    @field_validator(*NOT_BUILT_SERVER_KEYS, mode="wrap")
    @classmethod
    def refuse(cls, value: Any, handler: Any, info: Any) -> None:
        if value is not None:
            raise ValueError(f"{NOT_BUILT_SERVER_KEYS[info.field_name]}. Leave it out")

    @field_validator("cors", mode="before")
    @classmethod
    def spell_out_cors(cls, value: Any) -> Any:
        return LOCAL_CORS if value is True else None if value is False else value


class SqliteBackend(Section):
    type: Literal["kv_sqlite", "sql_sqlite"]
    db_path: str | None = None
    namespace: str | None = None


class PostgresBackend(Section):
    """OGX has a `connection_string` in place of the parts of an address, and the settings of its pool.

    `private` is ours: where no host is named, a PostgreSQL of our own comes and goes with the server, for demos.
    """

    type: Literal["kv_postgres", "sql_postgres"]
    connection_string: str | None = Field(default=None, pattern=r"^postgres(ql)?://")
    pool_size: int | None = None
    max_overflow: int | None = None
    pool_recycle: int | None = None
    pool_pre_ping: bool | None = None
    private: bool = False
    host: str = "localhost"
    port: int = 5432
    db: str = "llamastack"
    user: str
    password: str | None = None
    ssl_mode: str | None = None
    ca_cert_path: str | None = None
    table_name: str = "llamastack_kvstore"
    namespace: str | None = None

    @model_validator(mode="before")
    @classmethod
    def needs_a_user_or_a_whole_address(cls, data: Any) -> Any:
        return {"user": ""} | data if isinstance(data, dict) and data.get("connection_string") else data


class RedisBackend(Section):
    type: Literal["kv_redis"]
    host: str = "localhost"
    port: int = 6379
    namespace: str | None = None


class MongodbBackend(Section):
    type: Literal["kv_mongodb"]
    host: str = "localhost"
    port: int = 27017
    db: str = "llamastack"
    user: str | None = None
    password: str | None = None
    collection_name: str = "llamastack_kvstore"
    namespace: str | None = None


Backend = Annotated[
    SqliteBackend | PostgresBackend | RedisBackend | MongodbBackend,
    Field(discriminator="type"),
]


class KeyValueStore(Section):
    backend: str
    namespace: str | None = None


class SqlStore(Section):
    backend: str
    table_name: str | None = None


class QueuedSqlStore(SqlStore):
    enabled: Literal[True] = True
    max_write_queue_size: int = Field(default=10000, ge=1)
    num_writers: int = Field(default=4, ge=1)


class EitherStore(Section):
    """0.3.5 keeps it in a key-value backend, OGX in an SQL one."""

    backend: str
    namespace: str | None = None
    table_name: str | None = None


Store = KeyValueStore | SqlStore | EitherStore


class Stores(Section):
    metadata: KeyValueStore | None = None
    inference: QueuedSqlStore | None = None
    conversations: SqlStore | None = None
    responses: QueuedSqlStore | None = None
    prompts: EitherStore | None = None
    connectors: EitherStore | None = None

    def named(self) -> dict[str, Store]:
        stores = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: store for name, store in stores.items() if store is not None}


class Storage(Section):
    """Backends by name, and which store lives on which. Here all stores live in the one database."""

    backends: dict[str, Backend] = {}
    stores: Stores = Stores()


class Telemetry(Section):
    enabled: bool = False


class Logging(Section):
    category_levels: dict[str, str] = {}


class EmbeddingModelReference(Section):
    """Of a registered model, by its provider and that one's own name of it; 0.3.5's registry joins the two."""

    provider_id: str
    model_id: str

    def means(self, entry: "ModelEntry") -> bool:
        named = (entry.provider_id, entry.provider_model_id) == (self.provider_id, self.model_id)
        return named or entry.model_id in (self.model_id, f"{self.provider_id}/{self.model_id}")


class VectorStores(Section):
    """Of stores that name no provider or no embedding model. OGX's further objects are told to have no effect."""

    default_provider_id: str | None = None
    default_embedding_model: EmbeddingModelReference | None = None
    default_reranker_model: dict[str, Any] | None = None
    rewrite_query_params: dict[str, Any] | None = None
    file_search_params: dict[str, Any] | None = None
    context_prompt_params: dict[str, Any] | None = None
    annotation_prompt_params: dict[str, Any] | None = None
    file_ingestion_params: dict[str, Any] | None = None
    chunk_retrieval_params: dict[str, Any] | None = None
    file_batch_params: dict[str, Any] | None = None
    contextual_retrieval_params: dict[str, Any] | None = None


class WrittenHome(Section, ModelHome):
    """A home as a run.yaml has it; one whose `provider_id` or `model` is empty is off."""


class WrittenModel(Section):
    """A model entry; an empty `model_id` or `provider_id` means: not to be registered. Its homes are read on their own.

    `aliases`, `default`, `homes` and `affinity` are ours: 0.3.5 has none of them.
    """

    model_id: str | None = Field(max_length=255)
    provider_id: str | None = None
    provider_model_id: str | None = None
    model_type: Literal["llm", "embedding", "rerank"] = "llm"
    metadata: dict[str, Any] = {}
    aliases: list[str] = []
    default: bool = False
    homes: list[Any] | None = None
    affinity: Affinity = ""

    @field_validator("metadata")
    @classmethod
    def check_facts(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        if problem := problem_in(metadata):
            raise ValueError(": ".join(problem))
        return metadata

    @model_validator(mode="after")
    def check_dimension(self) -> Self:
        if self.model_type == "embedding" and (self.provider_id or self.homes):
            dimension = self.metadata.get("embedding_dimension")
            if not isinstance(dimension, int) or isinstance(dimension, bool) or dimension < 1:
                raise ValueError("an embedding model needs metadata.embedding_dimension, a positive whole number")
        return self


class ModelEntry(WrittenModel):
    """A model to register: `declared` is the entry as written, `line` where it was (None: from the environment).

    Of `homes` those that are on; a model with such a list is shown on the first provider of them.
    """

    model_id: str
    provider_id: str
    provider_model_id: str
    homes: list[ModelHome] | None = None
    declared: dict[str, Any] = {}
    line: int | None = None

    def places(self) -> list[tuple[str, str]]:
        """The providers that serve it, each with its own name of the model."""
        homes = [home for home in self.homes or () if home.provider_id]
        plain = [] if self.homes else [(self.provider_id, self.provider_model_id)]
        return plain + [(str(home.provider_id), home.provider_model_id or self.model_id) for home in homes]


class ShieldEntry(Section):
    shield_id: str
    provider_id: str | None = None
    provider_shield_id: str | None = None
    params: dict[str, Any] | None = None


class VectorStoreEntry(Section):
    vector_store_id: str
    embedding_model: str
    embedding_dimension: int
    provider_id: str | None = None
    provider_vector_store_id: str | None = None


class DatasetEntry(Section):
    dataset_id: str | None = None
    purpose: str
    source: dict[str, Any]
    metadata: dict[str, Any] | None = None
    provider_id: str | None = None


class ScoringFunctionEntry(Section):
    scoring_fn_id: str
    provider_id: str | None = None
    provider_scoring_fn_id: str | None = None
    description: str | None = None
    return_type: dict[str, Any] | None = None
    params: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class BenchmarkEntry(Section):
    benchmark_id: str
    dataset_id: str
    scoring_functions: list[str]
    provider_id: str | None = None
    provider_benchmark_id: str | None = None
    metadata: dict[str, Any] | None = None


class ToolGroupEntry(Section):
    toolgroup_id: str
    provider_id: str | None = None
    args: dict[str, Any] | None = None
    mcp_endpoint: dict[str, Any] | None = None


class RegisteredResources(Section):
    """What to register at the start. Models and vector stores are served; the other lists are checked and kept."""

    models: list[ModelEntry] = []
    shields: list[ShieldEntry] = []
    vector_stores: list[VectorStoreEntry] = []
    datasets: list[DatasetEntry] = []
    scoring_fns: list[ScoringFunctionEntry] = []
    benchmarks: list[BenchmarkEntry] = []
    tool_groups: list[ToolGroupEntry] = []


class WrittenProvider(Section):
    """A provider entry; a `provider_id` of None means: not enabled. Its config is read on its own, if it is enabled."""

    provider_id: str | None = Field(max_length=255)
    provider_type: str
    config: dict[str, Any] | None = None
    module: str | None = None


class ProviderEntry(Section):
    """A provider of the stack: `config` expanded, `declared` the config as written, `line` where it was.

    `unavailable` says why it cannot serve here; such a provider is kept and shown with this reason.
    """

    api: str
    provider_id: str
    provider_type: str
    config: dict[str, Any] = {}
    declared: dict[str, Any] = {}
    module: str | None = None
    line: int | None = None
    unavailable: str | None = None


class StackConfig(Section):
    """A whole run.yaml, resolved. `notes` are for whoever starts the stack: what was read and has no effect."""

    version: Literal[2] = 2
    image_name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    container_image: str | None = None
    apis: list[str] = []
    providers: dict[str, list[ProviderEntry]] = {}
    registered_resources: RegisteredResources = RegisteredResources()
    server: Server = Server()
    storage: Storage = Storage()
    telemetry: Telemetry = Telemetry()
    vector_stores: VectorStores | None = None
    logging: Logging = Logging()
    external_providers_dir: str | None = None
    external_apis_dir: str | None = None
    safety: dict[str, Any] | None = None
    connectors: list[Any] | None = None
    metadata_store: dict[str, Any] | None = None
    inference_store: dict[str, Any] | None = None
    conversations_store: dict[str, Any] | None = None
    notes: list[str] = Field(default=[], exclude=True)

    @field_validator("image_name", mode="before")
    @classmethod
    def spell_number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) else value

    @field_validator("version", mode="before")
    @classmethod
    def check_version(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool) and value != 2:
            remedy = "write the file in the form of version 2" if value < 2 else "this server reads version 2"
            raise ValueError(f"version {value} is {'older' if value < 2 else 'newer'} than what is read here: {remedy}")
        return value
