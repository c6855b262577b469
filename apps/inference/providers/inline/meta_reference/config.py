"""What `inline::meta-reference` can be told."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, field_validator

from apps.inference.providers.unsupported import GeneratesConfig
from llamastack.providers import ProviderConfig

# Distributions of 0.3.5 write `${env.INFERENCE_CHECKPOINT_DIR:=null}`, which arrives as a word.
OptionalPath = Annotated[str | None, BeforeValidator(lambda value: None if value in ("", "null") else value)]


class Quantization(ProviderConfig):
    """How weights are held. 0.3.5's other types need CUDA kernels that this engine does not have."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: Literal["bf16"]


class MetaReferenceConfig(GeneratesConfig):
    """`model` is loaded at start; without it, models load when they are first asked for."""

    model: str | None = Field(None, description="A name in the models folder, or the path of a folder or .gguf file")
    temperature: float | None = Field(None, ge=0, le=2, description="Of requests that name none; 1 where this is empty")
    max_tokens: int | None = Field(None, ge=1, description="Of answers to chats that name none; max_seq_len bounds all")
    torch_seed: int | None = Field(None, description="Makes requests without a seed of their own repeatable in order")
    max_seq_len: int = Field(4096, ge=16, description="Prompt and completion together, in tokens")
    max_batch_size: int = Field(8, ge=1, le=1024, description="Generations that share one step")
    max_waiting: int = Field(256, ge=0, description="Generations that may queue; the next one is answered 429")
    model_parallel_size: int | None = Field(None, description="One process serves a model: 0 or 1")
    create_distributed_process_group: bool = Field(True, description="Read and without effect: there is one process")
    checkpoint_dir: OptionalPath = Field(None, description="Where the model lies, if not in the models folder")
    quantization: Quantization | None = None
    dtype: Literal["auto", "bfloat16", "float32"] = Field("auto", description="auto: bfloat16 where it is native")
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("model_parallel_size")
    @classmethod
    def _one_process(cls, size: int | None) -> int | None:
        if size is not None and size not in (0, 1):
            raise ValueError(
                "this engine serves a model from one process: set model_parallel_size to 1 or leave it out"
            )
        return size

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"max_seq_len": 4096, "max_batch_size": 8}
