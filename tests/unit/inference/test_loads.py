"""Models that load in threads."""

import subprocess
import sys

import pytest

TWO_AT_ONCE = """
import asyncio
from apps.inference.providers.inline.loads import Loads

def one(name):
    from transformers import AutoModelForCausalLM, GgufConfig
    return AutoModelForCausalLM

def other(name):
    from transformers import AutoModel, AutoTokenizer
    return AutoModel

async def main():
    await asyncio.gather(Loads(one).get("a"), Loads(other).get("b"))

asyncio.run(main())
"""


@pytest.mark.slow
def test_two_engines_may_begin_with_their_library_at_once() -> None:
    """In a process of its own, since a library is imported once."""
    done = subprocess.run([sys.executable, "-c", TWO_AT_ONCE], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
