"""A model's eyes: the processor that makes one prompt of a conversation's text and images."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from PIL import Image

from apps.inference.providers.inline.meta_reference import images, prompt
from apps.inference.providers.inline.meta_reference.seen import Seen
from apps.inference.providers.inline.meta_reference.tool_forms.talk import PLAIN, Talk
from apps.inference.schemas import Message, TextPart
from llamastack.egress.fetch import Fetched
from llamastack.errors import BadRequest


class Eyes:
    """`processor` is transformers' ProcessorMixin of an image-text-to-text model; pixels become the model's `dtype`."""

    def __init__(self, processor: Any, dtype: torch.dtype) -> None:
        self.tokenizer = processor.tokenizer
        template = processor.chat_template or self.tokenizer.chat_template  # checkpoints keep it with either
        processor.chat_template = self.tokenizer.chat_template = template
        self._processor = processor
        self._dtype = dtype
        added = self.tokenizer.added_tokens_decoder.items()
        self._controls = {processor.image_token_id, *(number for number, token in added if token.special)}

    def encode(
        self, messages: list[Message], talk: Talk = PLAIN, fetched: Mapping[str, Fetched] | None = None
    ) -> list[int]:
        """A prompt's tokens; with images, a Seen prompt, whose tokens count them. Raises BadRequest.

        `fetched` has what stands at the addresses of those that do not carry their data.
        """
        text = prompt.rendered(self._processor, messages, talk, in_parts=True)
        begun = self.tokenizer.bos_token is not None and text.startswith(self.tokenizer.bos_token)
        found = images.places(messages)
        if found:
            self._refuse_controls(messages)
            return self._seen(text, images.decode(found, fetched or {}), not begun)
        tokens: list[int] = self.tokenizer.encode(text, add_special_tokens=not begun)
        return tokens

    def try_out(self, model: Any) -> None:
        """Look at a small image: a template that places none, or a processor made for other weights, shows now."""
        text = self._processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}]}], add_generation_prompt=True, tokenize=False
        )
        seen = self._seen(text, [Image.new("RGB", (32, 32))], True)
        with torch.inference_mode():
            model(input_ids=torch.tensor([seen], device=model.device), logits_to_keep=1, **seen.on(model.device))

    def _seen(self, text: str, pictures: list[Image.Image], add_special_tokens: bool) -> Seen:
        try:
            inputs = self._processor(
                text=[text], images=pictures, return_tensors="pt", add_special_tokens=add_special_tokens
            )
        except (ValueError, ArithmeticError) as error:
            raise BadRequest(f"This model cannot take these images: {error}", param="messages") from error
        tokens: list[int] = inputs.pop("input_ids")[0].tolist()
        del inputs["attention_mask"]  # one prompt has no padding
        return Seen(
            tokens,
            {name: value.to(self._dtype) if value.is_floating_point() else value for name, value in inputs.items()},
        )

    def _refuse_controls(self, messages: list[Message]) -> None:
        """Beside images, a text that spells the token of an image would be taken for one that is not there."""
        for field, text in _texts(messages):
            for number in self._controls.intersection(self.tokenizer.encode(text, add_special_tokens=False)):
                control = self.tokenizer.convert_ids_to_tokens(number)
                raise BadRequest(
                    f"The text has '{control}', a control token of this model: beside images, spell it another way.",
                    param=field,
                )


def _texts(messages: list[Message]) -> Iterator[tuple[str, str]]:
    for index, message in enumerate(messages):
        if isinstance(message.content, str):
            yield f"messages[{index}].content", message.content
        for place, part in enumerate(message.content or []):
            if isinstance(part, TextPart):
                yield f"messages[{index}].content[{place}].text", part.text
