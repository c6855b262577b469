"""Where and how precisely models run here. Imports torch: only for modules that are loaded when a provider starts."""

from functools import cache
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from llamastack.providers import ProviderUnavailable

transformers_logging.disable_progress_bar()

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # the last one is ARM's


def device(wanted: str) -> torch.device:
    """`auto`: CUDA where there is a device. Raises ProviderUnavailable where `cuda` is asked for and there is none."""
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
