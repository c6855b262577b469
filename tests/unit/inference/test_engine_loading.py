"""Loading models from disk: safetensors and GGUF, and what is refused. The models are tiny and random."""

import asyncio
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from gguf import GGUFWriter
from transformers import LlamaConfig, LlamaForCausalLM, MambaConfig, MambaForCausalLM, MistralConfig, MistralForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

from apps.inference.providers.inline.meta_reference.config import MetaReferenceConfig
from apps.inference.providers.inline.meta_reference.loader import LoadedModel, load
from llamastack.providers import ProviderUnavailable
from llamastack.sampling import SamplingParams

TOKENS = ["<|start|>", "<|end|>", *bytes_to_unicode().values(), "ab"]
TEMPLATE = "{% for message in messages %}<|start|>{{ message.content }}<|end|>{% endfor %}"
SHAPE: dict[str, Any] = {
    "vocab_size": len(TOKENS),
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    """A llama of two layers with a byte tokenizer, as llama.cpp writes it."""
    path = tmp_path / "tiny.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(8)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3] + [1] * (len(TOKENS) - 2))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(TEMPLATE)
    for name, shape in _tensors():
        values = numpy.random.default_rng(len(name)).normal(size=shape).astype(numpy.float32)
        writer.add_tensor(name, numpy.ones(shape, dtype=numpy.float32) if "norm" in name else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors() -> list[tuple[str, tuple[int, ...]]]:
    block = {"attn_norm": (32,), "ffn_norm": (32,), "attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32)}
    block |= {"attn_output": (32, 32), "ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64)}
    layers = [(f"blk.{layer}.{name}.weight", shape) for layer in range(2) for name, shape in block.items()]
    ends = [
        ("token_embd.weight", (len(TOKENS), 32)),
        ("output_norm.weight", (32,)),
        ("output.weight", (len(TOKENS), 32)),
    ]
    return [*layers, *ends]


def loaded(path: Path, **config: Any) -> LoadedModel:
    return load(str(path), MetaReferenceConfig(**({"dtype": "float32", "device": "cpu"} | config)))


async def generate(model: LoadedModel, prompt: list[int], count: int) -> list[int]:
    return [token async for token in await model.engine.submit(prompt, SamplingParams(max_tokens=count))]


async def test_a_gguf_file_loads_with_its_tokenizer_and_template(gguf: Path) -> None:
    model = loaded(gguf)
    reference: Any = model.engine.model
    prompt = model.tokenizer.apply_chat_template([{"content": "Hi é"}], return_dict=False)
    assert model.tokenizer.decode(prompt) == "<|start|>Hi é<|end|>"
    expected = reference.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=12)[0, len(prompt) :].tolist()
    assert await generate(model, prompt, 12) == expected
    assert model.engine.context == 128
    assert model.engine.ends == {1}
    await asyncio.to_thread(model.engine.stop)


def folder(path: Path, model: Any, gguf: Path) -> Path:
    """A model of any architecture beside the GGUF's tokenizer."""
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(path)
    model.save_pretrained(path)
    return path


async def test_within_its_window_a_sliding_model_says_what_generate_says(gguf: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = MistralConfig(**SHAPE, sliding_window=40, bos_token_id=0, eos_token_id=None)
    reference = MistralForCausalLM(config).eval()
    model = loaded(folder(tmp_path / "mistral", reference, gguf))
    assert model.engine.context == 40
    prompts = [list(range(2, 2 + length)) for length in (12, 5)]
    found = await asyncio.gather(*(generate(model, prompt, 20) for prompt in prompts))
    for prompt, tokens in zip(prompts, found, strict=True):
        ids = torch.tensor([prompt])
        output = reference.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20)
        assert tokens == output[0, len(prompt) :].tolist()
    await asyncio.to_thread(model.engine.stop)


def test_a_model_without_keys_and_values_is_refused_by_its_layers(gguf: Path, tmp_path: Path) -> None:
    mamba = MambaForCausalLM(MambaConfig(vocab_size=len(TOKENS), hidden_size=32, num_hidden_layers=2, state_size=4))
    with pytest.raises(ProviderUnavailable):
        loaded(folder(tmp_path / "mamba", mamba, gguf))


def test_a_damaged_file_is_unavailable_with_its_reason(gguf: Path, tmp_path: Path) -> None:
    path = folder(tmp_path / "damaged", LlamaForCausalLM(LlamaConfig(**SHAPE)), gguf)
    (path / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ProviderUnavailable, match="Cannot load"):
        loaded(path)


def test_cuda_where_there_is_none_says_so(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ProviderUnavailable, match="CUDA"):
        loaded(gguf, device="cuda")


async def test_checkpoint_dir_says_where_a_model_lies(gguf: Path) -> None:
    model = load("any/name", MetaReferenceConfig(checkpoint_dir=str(gguf), dtype="float32", device="cpu"))
    assert await generate(model, [5, 6], 3)
    await asyncio.to_thread(model.engine.stop)
