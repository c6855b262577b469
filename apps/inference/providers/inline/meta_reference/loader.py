"""A model from disk: weights, tokenizer, chat template, and the engine that runs it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer, GgufConfig
from transformers.cache_utils import get_layer_types_and_kwargs
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as TEXT_MODELS
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as IMAGE_MODELS

from apps.inference.local_models import resolve
from apps.inference.providers.inline import runtime
from apps.inference.providers.inline.meta_reference.config import MetaReferenceConfig
from apps.inference.providers.inline.meta_reference.constraint import Grammars
from apps.inference.providers.inline.meta_reference.engine import Engine
from apps.inference.providers.inline.meta_reference.images import SEEING, sees
from llamastack.providers import ProviderUnavailable

if TYPE_CHECKING:
    from apps.inference.providers.inline.meta_reference.vision import Eyes

WHOLE_ATTENTION = {"full_attention"}
WINDOWED_ATTENTION = {"sliding_attention", "chunked_attention"}


@dataclass(frozen=True)
class LoadedModel:
    engine: Engine
    tokenizer: Any  # transformers' PreTrainedTokenizerFast
    vocabulary: int  # how many token ids the model knows
    longest_text: int  # characters; of no longer one could the tokens fit into the context
    eyes: "Eyes | None" = None  # of a model that sees


def load(name: str, config: MetaReferenceConfig) -> LoadedModel:
    """Load a model and start its engine. Takes seconds: call it in a thread. Raises ProviderUnavailable."""
    path = resolve(config.checkpoint_dir or name)
    _require_type(name, path)
    try:
        processor = _processor(path) if sees(path) else None
        tokenizer = _fast(processor.tokenizer if processor else AutoTokenizer.from_pretrained(**_source(path)), path)
        model = _model(path, config)
        eyes = _eyes(processor, model) if processor else None
    except ProviderUnavailable:
        raise
    except Exception as error:  # a damaged or foreign file can fail in any of three libraries, each in its own way
        raise ProviderUnavailable(f"Cannot load '{name}' from {path}: {error}") from error
    _require_support(name, model)
    ends, vocabulary = _ends(model, tokenizer), model.get_input_embeddings().num_embeddings
    engine = Engine(
        model,
        context=min(config.max_seq_len, _longest(model.config)),
        ends=ends,
        max_batch_size=config.max_batch_size,
        max_waiting=config.max_waiting,
        seed=config.torch_seed,
        grammars=Grammars(tokenizer, vocabulary, ends),
    )
    _warm_up(model)
    engine.start()
    return LoadedModel(engine, tokenizer, vocabulary, engine.context * max(map(len, tokenizer.get_vocab())), eyes)


def _source(path: Path) -> dict[str, Any]:
    """Keyword arguments for from_pretrained: nothing from the network, no code from the model, no pickle."""
    place = {"gguf_file": path.name} if path.is_file() else {}
    folder = path.parent if path.is_file() else path
    return {"pretrained_model_name_or_path": folder, "local_files_only": True, "trust_remote_code": False, **place}


def _fast(tokenizer: Any, path: Path) -> Any:
    if not tokenizer.is_fast:
        raise ProviderUnavailable(f"{path} has no tokenizer.json; convert its tokenizer to the fast format.")
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _processor(path: Path) -> Any:
    from transformers import AutoProcessor  # imported for models that see alone, as pillow is

    return AutoProcessor.from_pretrained(**_source(path))


def _eyes(processor: Any, model: Any) -> "Eyes":
    from apps.inference.providers.inline.meta_reference.vision import Eyes

    eyes = Eyes(processor, model.dtype)
    eyes.try_out(model)
    return eyes


def _model(path: Path, config: MetaReferenceConfig) -> Any:
    device = runtime.device(config.device)
    form: dict[str, Any] = {"use_safetensors": True}
    if path.is_file():
        form = {"quantization_config": GgufConfig(dequantize=True)}  # otherwise it looks for kernels to download
    kind = AutoModelForImageTextToText if sees(path) else AutoModelForCausalLM
    model = kind.from_pretrained(
        **_source(path), **form, dtype=runtime.dtype(config.dtype, device), attn_implementation="sdpa"
    )
    return model.to(device).eval()


def _require_type(name: str, path: Path) -> None:
    """A model of images that neither sees here nor reads text alone says so before its weights are read."""
    kind = "" if path.is_file() else json.loads((path / "config.json").read_text()).get("model_type", "")
    if kind in IMAGE_MODELS and kind not in TEXT_MODELS and kind not in SEEING:
        raise ProviderUnavailable(
            f"'{name}' is of the type '{kind}', which this engine cannot run. Of the models that see it runs: "
            f"{', '.join(sorted(SEEING))}."
        )


def _require_support(name: str, model: Any) -> None:
    """The engine keeps keys and values of whole rows: state-space and compressed caches are not that."""
    kinds, _ = get_layer_types_and_kwargs(model.config.get_text_config(decoder=True))
    if strange := set(kinds) - WHOLE_ATTENTION - WINDOWED_ATTENTION:
        raise ProviderUnavailable(f"'{name}' has layers that this engine cannot run: {', '.join(sorted(strange))}.")


def _longest(config: Any) -> int:
    """The context that the weights allow. Within one sliding window, windowed attention is whole attention."""
    text = config.get_text_config(decoder=True)
    kinds, options = get_layer_types_and_kwargs(text)
    windows = [
        option["sliding_window"] for kind, option in zip(kinds, options, strict=True) if kind in WINDOWED_ATTENTION
    ]
    return int(min([text.max_position_embeddings, *windows]))


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = tokenizer.eos_token_id
    return frozenset([ends] if isinstance(ends, int) else ends or [])


def _warm_up(model: Any) -> None:
    """The first forward call prepares kernels; better before a request than during one."""
    with torch.inference_mode():
        model(input_ids=torch.zeros(1, 8, dtype=torch.long, device=model.device))
