"""Where this installation keeps its state, its database and its models."""

import os
from pathlib import Path


def home() -> Path:
    """LLAMA_STACK_HOME, or ~/.llama. It need not exist yet."""
    return Path(os.environ.get("LLAMA_STACK_HOME") or "~/.llama").expanduser().absolute()


def models_dir() -> Path:
    """The folder of local models: one folder (or `.gguf` file) a model, named as the model is."""
    return home() / "models"
