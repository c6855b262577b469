"""Search, as OpenAI has it, with Llama Stack's modes and rankers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, FiniteFloat, StringConstraints, field_validator

from apps.vector_io.schemas.base import Identifier, Storable, Strict

MOST_RESULTS = 50
MOST_QUERIES = 16
Mode = Literal["vector", "keyword", "hybrid"]
QueryText = Annotated[str, StringConstraints(min_length=1, max_length=32_768), Storable]


class RankingOptions(Strict):
    """`ranker` is `rrf`, `weighted` or `normalized`, which say how a hybrid search joins its two lists, `auto` or
    `default-2024-11-15`, which leave it to the server, `none`, or the name of a rerank model (also as `model`).

    `alpha` is the vectors' weight.
    """

    ranker: Identifier | None = None
    score_threshold: FiniteFloat | None = Field(None, ge=0, le=1)
    alpha: FiniteFloat | None = Field(None, ge=0, le=1)
    impact_factor: FiniteFloat | None = Field(None, gt=0, le=1_000_000)
    weights: dict[Literal["vector", "keyword", "neural"], Annotated[FiniteFloat, Field(ge=0, le=1)]] | None = None
    model: Identifier | None = None


class SearchRequest(Strict):
    query: QueryText | Annotated[list[QueryText], Field(min_length=1, max_length=MOST_QUERIES)]
    filters: dict[str, Any] | None = None
    max_num_results: int = Field(10, ge=1, le=MOST_RESULTS, strict=True)
    ranking_options: RankingOptions | None = None
    rewrite_query: bool = Field(False, strict=True)
    search_mode: Mode | None = None

    @field_validator("max_num_results", "rewrite_query", mode="before")
    @classmethod
    def _default(cls, value: Any, info: Any) -> Any:
        """Clients send null for what is not set."""
        return cls.model_fields[info.field_name].default if value is None else value

    @property
    def queries(self) -> list[str]:
        return [self.query] if isinstance(self.query, str) else self.query


class SearchContent(BaseModel):
    type: Literal["text"] = "text"
    text: str


class SearchResult(BaseModel):
    """`chunk_id` and `page` are ours: where in the file the text stands."""

    file_id: str
    filename: str
    score: float
    attributes: dict[str, Any] | None = None
    content: list[SearchContent]
    chunk_id: str
    page: int | None = None


class SearchPage(BaseModel):
    """`search_query` is what was searched for."""

    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
    search_query: list[str]
    data: list[SearchResult]
    has_more: bool = False
    next_page: str | None = None
