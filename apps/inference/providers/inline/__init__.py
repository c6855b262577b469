"""Providers that run models in this process."""

import os

# Read by huggingface_hub when it is first imported, so set before any module here can import it: models are local, and
# nothing is looked up online.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
