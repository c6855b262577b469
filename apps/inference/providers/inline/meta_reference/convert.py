"""GGUF to safetensors, once, so that a model loads in a third of a second and not in twelve.

    python -m apps.inference.providers.inline.meta_reference.convert MODEL.gguf FOLDER

A program and not a function to call: it takes half a minute and three times the model's size in memory.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def convert(gguf: Path, folder: Path) -> None:
    """Dequantise to fp32 (bf16 is a cast at loading) and save weights, configs, tokenizer and chat template."""
    options = {"gguf_file": gguf.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **options)
    quantised = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **options)
    config = quantised.config
    del config.quantization_config  # save_pretrained refuses what it believes to be quantised
    with torch.device("meta"):
        model = type(quantised)(config)
    model.load_state_dict(quantised.state_dict(), assign=True)
    model.generation_config = quantised.generation_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
