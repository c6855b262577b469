"""A model that turns texts into vectors, from a folder as sentence-transformers writes it.

Reads modules.json, 1_Pooling and sentence_bert_config.json; a folder without modules.json is pooled by the mean, as
sentence-transformers does.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from transformers import AutoModel, AutoTokenizer

from apps.inference.providers.inline import runtime
from llamastack.providers import ProviderUnavailable

Vectors = numpy.ndarray[Any, numpy.dtype[numpy.float32]]

POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
}


class Encoder:
    """Loads a folder: takes seconds, so construct it in a thread. Raises ProviderUnavailable."""

    def __init__(self, folder: Path, *, device: str, dtype: str) -> None:
        place = runtime.device(device)
        source: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._pooling, self._normalize = _modules(folder)
            tokenizer = AutoTokenizer.from_pretrained(folder, **source)
            model = AutoModel.from_pretrained(
                folder, use_safetensors=True, dtype=runtime.dtype(dtype, place), attn_implementation="sdpa", **source
            )
        except ProviderUnavailable:
            raise
        except Exception as error:  # a damaged or foreign file can fail in any of three libraries, each in its own way
            raise ProviderUnavailable(f"Cannot load {folder}: {error}") from error
        self._model: Any = model.to(place).eval()
        self.dimension: int = model.config.hidden_size
        self.context = _context_length(folder)
        self.vocabulary: int = model.config.vocab_size
        self.matryoshka = _matryoshka(model.config)
        self._prefix = _default_prompt(folder)
        self._tokenizer = _plain_tokenizer(tokenizer)
        self._before, self._after = self._special_tokens()

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with the special tokens the model was trained with. Blocks: call it in a thread."""
        encodings = self._tokenizer.encode_batch([self._prefix + text for text in texts], add_special_tokens=True)
        return [encoding.ids for encoding in encodings]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where each token of a text stands in it. Blocks: call it in a thread."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).offsets)

    @property
    def room(self) -> int:
        """How many tokens a text may have, beside the special ones and the default prompt."""
        return self.context - len(self._tokenizer.encode(self._prefix, add_special_tokens=True).ids)

    def framed(self, tokens: Sequence[int]) -> list[int]:
        """A caller's own token ids between the model's special tokens, unless they are there already."""
        before, after = self._before, self._after
        given = list(tokens)
        if (before or after) and given[: len(before)] == before and given[len(given) - len(after) :] == after:
            return given
        return [*before, *given, *after]

    def cut(self, tokens: Sequence[int], side: str) -> list[int]:
        """As many tokens as the model reads, its special tokens kept. `side` says where tokens go: `start` or `end`."""
        inner = list(tokens)[len(self._before) : len(tokens) - len(self._after)]
        room = self.context - len(self._before) - len(self._after)
        inner = inner[:room] if side == "end" else inner[-room:]
        return [*self._before, *inner, *self._after]

    def vectors(self, inputs: Sequence[Sequence[int]]) -> Vectors:
        """One row an input. Blocks for as long as the model computes."""
        lengths = [len(tokens) for tokens in inputs]
        width = max(lengths)
        with torch.inference_mode():
            ids = torch.tensor(
                [[*tokens, *[0] * (width - len(tokens))] for tokens in inputs], device=self._model.device
            )
            ends = torch.tensor(lengths, device=ids.device)
            mask = torch.arange(width, device=ids.device) < ends[:, None]
            masked = {} if min(lengths) == width else {"attention_mask": mask.long()}
            states = self._model(input_ids=ids, **masked).last_hidden_state.float()
            pooled = pool(states, mask, ends, self._pooling)
            if self._normalize:
                pooled = torch.nn.functional.normalize(pooled, dim=-1)
        found: Vectors = pooled.cpu().numpy()
        return found

    def _special_tokens(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts before and after a text."""
        encoding = self._tokenizer.encode("a", add_special_tokens=True)
        special = encoding.special_tokens_mask
        first = special.index(0) if 0 in special else len(special)
        last = len(special) - special[::-1].index(0) if 0 in special else len(special)
        return encoding.ids[:first], encoding.ids[last:]


def pool(states: torch.Tensor, mask: torch.Tensor, ends: torch.Tensor, mode: str) -> torch.Tensor:
    """One vector a row from [rows, tokens, size]."""
    if mode == "cls":
        return states[:, 0]
    if mode == "lasttoken":
        return states[torch.arange(len(ends), device=states.device), ends - 1]
    weights = mask[:, :, None]
    if mode == "max":
        return states.masked_fill(~weights, float("-inf")).amax(dim=1)
    return (states * weights).sum(dim=1) / ends[:, None]


# --- what a folder says of itself ---


def _context_length(folder: Path) -> int:
    """The most tokens a text may have, special ones included."""
    sentence = _read(folder / "sentence_bert_config.json").get("max_seq_length")
    positions = _read(folder / "config.json").get("max_position_embeddings")
    return int(min(length for length in (sentence, positions, 1 << 20) if length))


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def _modules(folder: Path) -> tuple[str, bool]:
    """The pooling mode, and whether vectors are normalised."""
    listing = folder / "modules.json"
    if not listing.is_file():
        return "mean", False
    modules = {module["type"].rpartition(".")[2]: module["path"] for module in json.loads(listing.read_text())}
    if strange := modules.keys() - {"Transformer", "Pooling", "Normalize"}:
        raise ProviderUnavailable(f"{folder} has modules that are not read here: {', '.join(sorted(strange))}.")
    return _pooling(folder, _read(folder / modules["Pooling"] / "config.json")), "Normalize" in modules


def _pooling(folder: Path, config: dict[str, Any]) -> str:
    """sentence-transformers 6 writes one key, older versions a flag a mode."""
    flags = [name for name, value in config.items() if name.startswith("pooling_mode_") and value]
    mode = config.get("pooling_mode") or (POOLING.get(flags[0], flags[0]) if len(flags) == 1 else flags or "mean")
    if mode not in POOLING.values() or config.get("include_prompt") is False:
        raise ProviderUnavailable(f"{folder} pools in a way that is not computed here: {mode}.")
    return str(mode)


def _matryoshka(config: Any) -> Callable[[int], bool]:
    """Which shorter vectors the model was trained for, by the keys vLLM reads: a list, or a mark that all are."""
    settings = config.to_dict()
    if settings.get("matryoshka_dimensions"):
        return frozenset(settings["matryoshka_dimensions"]).__contains__
    return lambda dimensions: bool(settings.get("is_matryoshka"))


def _default_prompt(folder: Path) -> str:
    settings = _read(folder / "config_sentence_transformers.json")
    name = settings.get("default_prompt_name")
    return str(settings["prompts"][name]) if name else ""


def _plain_tokenizer(tokenizer: Any) -> Any:
    """The fast tokenizer, without the truncation and padding that its file may carry."""
    if not tokenizer.is_fast:
        raise ProviderUnavailable(f"{tokenizer.name_or_path} has no tokenizer.json.")
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return backend
