"""A request's prompts as the engine needs them: tokens."""

from typing import Any

from jinja2 import TemplateError

from apps.inference.providers.inline.meta_reference.parameters import PROVIDER
from apps.inference.providers.inline.meta_reference.tool_forms.talk import Talk, one_by_one
from apps.inference.schemas import CompletionRequest, ImagePart, Message, TextPart
from llamastack.errors import BadRequest, UnsupportedParameter

# A template may also meet what it cannot work with, such as a call's arguments that are no object.
REFUSALS = (TemplateError, TypeError)


def encode(tokenizer: Any, messages: list[Message], talk: Talk) -> list[int]:
    """The conversation through the model's own chat template, ready for its answer."""
    tokens: list[int] = tokenizer.encode(rendered(tokenizer, messages, talk), add_special_tokens=False)
    return tokens


def rendered(template: Any, messages: list[Message], talk: Talk, in_parts: bool = False) -> str:
    """The conversation as text. `template` is a tokenizer, or a processor: its template takes contents `in_parts`."""
    if not template.chat_template:
        raise BadRequest("This model has no chat template, so it cannot chat; use an instruct model.", param="model")
    turns = talk.turns([_turn(index, message, in_parts) for index, message in enumerate(messages)], messages)
    try:
        return _filled(template, turns, talk)
    except REFUSALS as error:
        refusal = BadRequest(f"The model's chat template refuses these messages: {error}", param="messages")
        apart = one_by_one(turns)
        if apart == turns:
            raise refusal from error
    try:
        return _filled(template, apart, talk)
    except REFUSALS as error:
        raise refusal from error


def _filled(template: Any, turns: list[dict[str, Any]], talk: Talk) -> str:
    text: str = template.apply_chat_template(turns, add_generation_prompt=True, tokenize=False, **talk.options)
    _refuse_endless(text, talk.longest_text, "messages")
    return text


def _refuse_endless(text: str, longest: int | None, field: str) -> None:
    """What cannot fit is refused before its tokens are counted, which takes half a minute for a body full of text."""
    if longest is not None and len(text) > longest:
        raise BadRequest(
            f"The prompt has {len(text)} characters; no more than {longest} can fit into this model's context.",
            param=field,
            code="context_length_exceeded",
        )


def encode_prompts(
    tokenizer: Any, request: CompletionRequest, vocabulary: int, longest_text: int | None = None
) -> list[list[int]]:
    """Every prompt without a chat template. A text begins as the tokenizer begins documents; token ids are kept."""
    prompts = _prompts(request)
    for prompt in prompts:
        if isinstance(prompt, str):
            _refuse_endless(prompt, longest_text, "prompt")
    return [
        _text_tokens(tokenizer, prompt) if isinstance(prompt, str) else _checked(prompt, vocabulary)
        for prompt in prompts
    ]


def echoes(tokenizer: Any, request: CompletionRequest) -> list[str]:
    """What each choice begins with: with `echo`, its prompt's text."""
    texts = [_text(tokenizer, prompt) if request.echo else "" for prompt in _prompts(request)]
    return [text for text in texts for _ in range(request.choices)]


def _prompts(request: CompletionRequest) -> list[str | list[int]]:
    prompt: Any = request.prompt or ""
    single = isinstance(prompt, str) or isinstance(prompt[0], int)
    return [prompt] if single else list(prompt)


def _text_tokens(tokenizer: Any, text: str) -> list[int]:
    """An empty text is the beginning of a document, for a model that has a token for it."""
    tokens: list[int] = tokenizer.encode(text)
    if tokens:
        return tokens
    if tokenizer.bos_token_id is None:
        raise BadRequest("This model needs a prompt: it has no token that begins a document.", param="prompt")
    return [tokenizer.bos_token_id]


def _text(tokenizer: Any, prompt: str | list[int]) -> str:
    if isinstance(prompt, str):
        return prompt
    text: str = tokenizer.decode(prompt, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def _checked(tokens: list[int], vocabulary: int) -> list[int]:
    if (largest := max(tokens)) >= vocabulary:
        raise BadRequest(f"Token {largest} is none: the model has {vocabulary} tokens.", param="prompt")
    return tokens


def _turn(index: int, message: Message, in_parts: bool) -> dict[str, Any]:
    """A message as templates know it; `developer` is OpenAI's newer word for `system`."""
    if message.role == "function":
        raise UnsupportedParameter(f"messages[{index}]", PROVIDER, "Use tool_calls, and messages of the role 'tool'.")
    role = "system" if message.role == "developer" else message.role
    parts = _parts(index, message)
    content = parts if in_parts else "".join(part["text"] for part in parts)
    turn = {"role": role, "content": content}
    return turn | {"name": message.name} if message.name else turn


def _parts(index: int, message: Message) -> list[dict[str, str]]:
    """The content as templates of models that see take it: images are marked here, and handed over beside the text."""
    if not isinstance(message.content, list):
        return [{"type": "text", "text": message.content or ""}]
    parts = []
    for place, part in enumerate(message.content):
        if isinstance(part, TextPart):
            parts.append({"type": "text", "text": part.text})
        elif isinstance(part, ImagePart):
            parts.append({"type": "image"})
        else:
            field = f"messages[{index}].content[{place}]"
            raise UnsupportedParameter(field, PROVIDER, f"It cannot take a part of the type '{part.type}'.")
    return parts or [{"type": "text", "text": ""}]
