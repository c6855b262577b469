"""Models that see, of every family that the local engine takes: tiny, random, and in fp32."""

import base64
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
import tokenizers
import torch
import transformers
from PIL import Image
from transformers import (
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3Processor,
    Gemma3TextConfig,
    Idefics3Config,
    Idefics3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaNextConfig,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

IMAGES = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
GEMMAS = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
GRID = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
CONTROLS = ["<|start|>", "<|end|>", *IMAGES, *GEMMAS.values(), *GRID]
ALPHABET = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
VOCABULARY = {token: place for place, token in enumerate([*CONTROLS, *ALPHABET])}
TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message.role }}:"
    "{% for part in message.content %}{{ 'MARK' if part.type == 'image' else part.text }}{% endfor %}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant:{% endif %}"
)
TEXT: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.5,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
SQUARE = {"height": 28, "width": 28}
CLIP: dict[str, Any] = {"size": {"shortest_edge": 28}, "crop_size": SQUARE}
PINPOINTS = [[28, 56], [56, 28], [56, 56]]
LLAVAS: dict[str, Any] = {
    "patch_size": 14,
    "vision_feature_select_strategy": "default",
    "num_additional_image_tokens": 1,
    "chat_template": TEMPLATE.replace("MARK", "<image>"),
}


def tokenizer(**special: Any) -> PreTrainedTokenizerFast:
    """One token a byte."""
    bytewise = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=VOCABULARY, merges=[]))
    bytewise.add_special_tokens(CONTROLS)
    bytewise.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = tokenizers.decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=bytewise,
        bos_token="<|start|>",
        eos_token="<|end|>",
        pad_token="<|end|>",
        **special,
    )


def llava() -> tuple[Any, Any]:
    config = LlavaConfig(
        text_config=LlamaConfig(**TEXT),
        vision_config=CLIPVisionConfig(**VISION),
        image_token_id=VOCABULARY["<image>"],
        vision_feature_layer=-1,
    )
    return config, LlavaProcessor(CLIPImageProcessorPil(**CLIP), tokenizer(), **LLAVAS)


def llava_next() -> tuple[Any, Any]:
    config = LlavaNextConfig(
        text_config=LlamaConfig(**TEXT),
        vision_config=CLIPVisionConfig(**VISION),
        image_token_id=VOCABULARY["<image>"],
        vision_feature_layer=-1,
        image_grid_pinpoints=PINPOINTS,
    )
    pictures = LlavaNextImageProcessorPil(**CLIP, image_grid_pinpoints=PINPOINTS)
    return config, LlavaNextProcessor(pictures, tokenizer(), **LLAVAS)


def idefics3() -> tuple[Any, Any]:
    config = Idefics3Config(
        text_config=LlamaConfig(**TEXT),
        vision_config=VISION,
        image_token_id=VOCABULARY["<image>"],
        scale_factor=2,
    )
    pictures = Idefics3ImageProcessorPil(size={"longest_edge": 56}, max_image_size={"longest_edge": 28})
    template = TEMPLATE.replace("MARK", "<image>")
    return config, Idefics3Processor(pictures, tokenizer(), image_seq_len=1, chat_template=template)


def gemma3() -> tuple[Any, Any]:
    config = Gemma3Config(
        text_config=Gemma3TextConfig(**TEXT, sliding_window=512, query_pre_attn_scalar=8),
        vision_config=SiglipVisionConfig(**VISION | {"image_size": 112}),
        mm_tokens_per_image=64,
        image_token_id=VOCABULARY["<image_soft_token>"],
        boi_token_index=VOCABULARY["<start_of_image>"],
        eoi_token_index=VOCABULARY["<end_of_image>"],
        tie_word_embeddings=False,
    )
    template = TEMPLATE.replace("MARK", "<start_of_image>")
    pictures = Gemma3ImageProcessorPil(size={"height": 112, "width": 112})
    return config, Gemma3Processor(
        pictures, tokenizer(extra_special_tokens=GEMMAS), image_seq_length=64, chat_template=template
    )


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "gemma3": gemma3,
    "idefics3": idefics3,
    "llava": llava,
    "llava_next": llava_next,
}


def save(family: str, folder: Path, **settings: Any) -> Path:
    """A checkpoint in Hugging Face's layout, with larger numbers in its projector, so that images matter."""
    torch.manual_seed(3)
    config, processor = FAMILIES[family]()
    for name, value in settings.items():
        setattr(config, name, value)
    model = transformers.AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "vision" in name or "multi_modal" in name or "connector" in name:
                weight.copy_(torch.randn_like(weight) * 0.5)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def picture(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    """Coarse coloured blocks, which no scaling down makes grey."""
    pixels = numpy.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=numpy.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)


def url(image: Image.Image, form: str = "png", **options: Any) -> str:
    file = BytesIO()
    image.save(file, form, **options)
    return f"data:image/{form};base64,{base64.b64encode(file.getvalue()).decode()}"


def image_part(address: str, **fields: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": address, **fields}}
