"""GGUF to safetensors, once, so that a model loads in a third of a second and not in twelve.

    python -m apps.inference.providers.inline.meta_reference.convert MODEL.gguf FOLDER

A program and not a function to call: it takes half a minute and three times the model's size in memory.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def convert(gguf: Path, folder: Path) -> None:
    """Dequantise to fp32 (bf16 is a cast at loading) and save weights, configs, tokenizer and chat template."""
    options = {"gguf_file": gguf.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **options)
    unpacked = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.float32, quantization_config=unpacked, **options
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
