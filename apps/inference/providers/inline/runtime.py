"""Where and how precisely models run here. Imports torch: only for modules that are loaded when a provider starts."""

import os
from functools import cache
from pathlib import Path

# Read by huggingface_hub when it is imported: models are local, and nothing is looked up elsewhere.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

from llamastack.providers import ProviderUnavailable  # noqa: E402

transformers_logging.disable_progress_bar()

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # the last one is ARM's


def device(wanted: str) -> torch.device:
    """`auto`: the first CUDA device where there is one. Raises ProviderUnavailable where there is not and it is asked for."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ProviderUnavailable("device is 'cuda' and torch finds no CUDA device. Set device to 'auto' or 'cpu'.")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def dtype(wanted: str, place: torch.device) -> torch.dtype:
    """`auto`: bfloat16 on CUDA and where the processor computes with it; elsewhere it is emulated and slow."""
    if wanted == "auto":
        wanted = "bfloat16" if place.type == "cuda" or bf16_flags() else "float32"
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


@cache
def bf16_flags() -> frozenset[str]:
    """The processor's flags that say it multiplies bfloat16 natively."""
    cpuinfo = Path("/proc/cpuinfo")
    words = cpuinfo.read_text().split() if cpuinfo.exists() else []
    return BF16_FLAGS.intersection(words)
