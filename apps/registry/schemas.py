"""The wire types of the registry, in the shape both OpenAI's and Llama Stack's clients read."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

ModelType = Literal["llm", "embedding", "rerank"]


class ProviderModel(BaseModel):
    """A model as its provider names it. Metadata of an embedding model holds `embedding_dimension`."""

    model_config = ConfigDict(protected_namespaces=())

    provider_model_id: str
    model_type: ModelType = "llm"
    metadata: dict[str, Any] = {}


class ModelInfo(BaseModel):
    """A registered model: OpenAI's fields (id, object, created, owned_by) beside Llama Stack's."""

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


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelInfo]


class RegisterModel(BaseModel):
    """`provider_model_id` is the provider's own name, `model_id` where it is not given; metadata of an embedding model
    needs `embedding_dimension`. Without `provider_id` the part before the first slash, or the only provider, is meant.
    """

    model_config = ConfigDict(protected_namespaces=(), extra="forbid")

    model_id: str = Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]*$")
    provider_id: str | None = Field(None, max_length=255)
    provider_model_id: str | None = Field(None, max_length=255, pattern=r"^[^\x00-\x1f]*$")
    model_type: ModelType = "llm"
    metadata: dict[str, JsonValue] = {}


class DeletedModel(BaseModel):
    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True


class ProviderHealth(BaseModel):
    """`OK`, `Error` or `Not Implemented` (Llama Stack's words), and a sentence."""

    status: Literal["OK", "Error", "Not Implemented"]
    message: str | None = None


class ProviderInfo(BaseModel):
    """A provider with its effective config, secrets masked."""

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
