"""Rerank: items in the order of their relevance to a query, after Llama Stack's specification."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, FiniteFloat

from apps.inference.schemas.base import MAX_INPUTS, Items, ModelName, Wire
from apps.inference.schemas.chat import ImagePart, TextPart


def typed(part: object) -> object:
    """OGX's specification lets a part leave its type out."""
    if isinstance(part, dict) and "type" not in part:
        return part | {"type": "image_url" if "image_url" in part else "text"}
    return part


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]
RerankItem = Annotated[str | Part, BeforeValidator(typed)]


class RerankRequest(Wire):
    """`max_num_results` is how many of the most relevant are wanted; all where it is not given."""

    model: ModelName
    query: RerankItem
    items: Annotated[Items[RerankItem], Field(min_length=1, max_length=MAX_INPUTS)]
    max_num_results: int | None = Field(None, ge=1, strict=True)


class RerankData(BaseModel):
    """`index` is the item's place in the request. How large a score is depends on the model: its order tells."""

    index: int = Field(ge=0)
    relevance_score: FiniteFloat


class RerankResponse(BaseModel):
    """The most relevant item comes first."""

    data: list[RerankData]
