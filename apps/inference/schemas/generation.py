"""How to generate: what the requests of chat completions and of completions share."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, FiniteFloat, JsonValue, ValidationInfo, field_validator

from apps.inference.schemas.base import ModelName, Wire

MAX_CHOICES = 128
MAX_BIASES = 1024


def few(biases: object) -> object:
    """Counted before each is looked at, as pydantic does with lists and not with dicts."""
    if isinstance(biases, dict) and len(biases) > MAX_BIASES:
        raise ValueError(f"at most {MAX_BIASES} tokens can be biased")
    return biases


Bias = Annotated[FiniteFloat, Field(ge=-100, le=100, strict=True)]


class StreamOptions(Wire):
    include_usage: bool | None = Field(None, strict=True)


class PlainFormat(Wire):
    """Text, or any JSON object."""

    type: Literal["text", "json_object"]


class JsonSchema(Wire):
    """A schema under a name. Without a schema, any JSON object will do; with or without `strict`, it is followed."""

    model_config = ConfigDict(serialize_by_alias=True)

    name: str = Field(pattern="^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    json_schema: dict[str, JsonValue] | None = Field(None, alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(Wire):
    type: Literal["json_schema"]
    json_schema: JsonSchema


class OtherFormat(Wire):
    """A format that is not OpenAI's: for vendors that know it."""

    type: Literal["structural_tag", "grammar", "regex"]


ResponseFormat = Annotated[PlainFormat | JsonSchemaFormat | OtherFormat, Field(discriminator="type")]


class GenerationRequest(Wire):
    """What chat completions and completions share: how to generate. As at OpenAI, "2" is no number."""

    model: ModelName
    stream: bool | None = Field(None, strict=True)
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, strict=True)
    temperature: float | None = Field(None, ge=0, le=2, strict=True)
    top_p: float | None = Field(None, ge=0, le=1, strict=True)
    n: int | None = Field(None, ge=1, le=MAX_CHOICES, strict=True)
    stop: Annotated[str, Field(max_length=1000)] | Annotated[list[str], Field(max_length=16)] | None = None
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1, strict=True)
    user: str | None = Field(None, max_length=1000)
    frequency_penalty: float | None = Field(None, ge=-2, le=2, strict=True)
    presence_penalty: float | None = Field(None, ge=-2, le=2, strict=True)
    logit_bias: Annotated[dict[str, Bias], BeforeValidator(few)] | None = None
    response_format: ResponseFormat | None = None

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def limit(self) -> int | None:
        """How many tokens may be generated, where the client says it."""
        return self.max_tokens

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk that carries usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @field_validator("stream_options")
    @classmethod
    def _only_of_a_stream(cls, options: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
        if options is not None and not info.data.get("stream", True):
            raise ValueError("is only allowed with 'stream: true'")
        return options
