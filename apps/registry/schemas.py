"""The wire types of the registry, in the shape both OpenAI's and Llama Stack's clients read."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from llamastack.config.homes import MOST_HOMES, Affinity, ModelHome
from llamastack.model_facts import Prices

ModelType = Literal["llm", "embedding", "rerank"]
MOST_ALIASES = 100
# An empty list is refused by the registry's service, whose sentence says more.
SOME_HOMES: dict[str, JsonValue] = {"minItems": 1}
AFFINITY = "The field of a request whose value keeps its calls at one home, so that prompts cached there are found."


class ProviderModel(BaseModel):
    """A model as its provider names it, and by which `other_names` it knows it too.

    Metadata of an embedding model holds `embedding_dimension`.
    """

    model_config = ConfigDict(protected_namespaces=())

    provider_model_id: str
    model_type: ModelType = "llm"
    metadata: dict[str, Any] = {}
    other_names: list[str] = Field([], exclude=True)


class ModelInfo(BaseModel):
    """A registered model: OpenAI's fields (id, object, created, owned_by) beside Llama Stack's.

    `provider_id` and `provider_resource_id` are those of the first of its homes.
    """

    model_config = ConfigDict(protected_namespaces=())

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    identifier: str
    provider_id: str
    provider_resource_id: str
    type: Literal["model"] = "model"
    model_type: ModelType
    metadata: dict[str, Any]
    custom_metadata: dict[str, Any]
    aliases: list[str]
    default: bool
    homes: list[ModelHome]
    affinity: str
    context_length: int | None = Field(None, description="The longest input, in tokens.")
    max_output_tokens: int | None = None
    prices: Prices | None = Field(None, description="US dollars for a million tokens.")
    sources: dict[str, str] = Field({}, description="Who says so: `operator`, `provider`, or where it is published.")


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelInfo]


ModelName = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]*$")]


class RegisterModel(BaseModel):
    """`provider_model_id` is the provider's own name, `model_id` where it is not given; metadata of an embedding model
    needs `embedding_dimension`. Without `provider_id` the part before the first slash, or the only provider, is meant;
    `homes` say it in its place where several may serve the model.
    """

    model_config = ConfigDict(protected_namespaces=(), extra="forbid")

    model_id: ModelName
    provider_id: str | None = Field(None, max_length=255)
    provider_model_id: ModelName | None = None
    model_type: ModelType = "llm"
    homes: list[ModelHome] | None = Field(None, max_length=MOST_HOMES, json_schema_extra=SOME_HOMES)
    affinity: Affinity | None = Field(None, description=AFFINITY)
    metadata: dict[str, JsonValue] = {}
    aliases: list[ModelName] = Field([], max_length=MOST_ALIASES, description="Other names that it answers to.")
    default: bool = Field(False, description="Listed first of its type, in place of the one before.")


class UpdateModel(BaseModel):
    """Only what is given changes. A null `provider_model_id` is `model_id` again; `metadata`, `aliases` and `homes` are
    replaced as a whole. Null `homes` leave the one that `provider_id` names.
    """

    model_config = ConfigDict(protected_namespaces=(), extra="forbid")

    # Factories, so that the description shows no default for what stays as it is.
    provider_id: str = Field(default_factory=str, max_length=255)
    provider_model_id: ModelName | None = Field(default_factory=lambda: None)
    model_type: ModelType = Field(default_factory=lambda: "llm")
    homes: list[ModelHome] | None = Field(
        default_factory=lambda: None, max_length=MOST_HOMES, json_schema_extra=SOME_HOMES
    )
    affinity: Affinity | None = Field(default_factory=lambda: None, description=AFFINITY)
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    aliases: list[ModelName] = Field(default_factory=list, max_length=MOST_ALIASES)
    default: bool = Field(default_factory=bool)


class DeletedModel(BaseModel):
    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True


class ProviderHealth(BaseModel):
    """`OK`, `Error` or `Not Implemented` (Llama Stack's words), and a sentence."""

    status: Literal["OK", "Error", "Not Implemented"]
    message: str | None = None


class ProviderInfo(BaseModel):
    """A provider. Its effective config, secrets masked, is shown to an admin; to others it is empty."""

    api: str
    provider_id: str
    provider_type: str
    config: dict[str, Any]
    health: ProviderHealth


class ProviderList(BaseModel):
    data: list[ProviderInfo]


class RouteInfo(BaseModel):
    route: str
    method: str
    provider_types: list[str]


class RouteList(BaseModel):
    data: list[RouteInfo]


class HealthInfo(BaseModel):
    status: Literal["OK"] = "OK"


class VersionInfo(BaseModel):
    version: str
