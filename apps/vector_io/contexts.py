"""Contextual chunks: a chat model says in a sentence where each chunk stands in its document."""

import asyncio
from collections.abc import Sequence

from apps.file_processors.chunking import TextChunk, Tokenizer
from apps.inference.protocol import RoutedInference
from apps.inference.schemas import ChatCompletion, ChatCompletionRequest
from apps.vector_io.schemas.base import ContextualSizes
from apps.vector_io.searching import said_in
from llamastack.call import Call
from llamastack.errors import UpstreamTimeout

MOST_TOKENS = 100  # of a context
DOCUMENT, CHUNK = "{{WHOLE_DOCUMENT}}", "{{CHUNK_CONTENT}}"
PROMPT = (
    f"Here is a document:\n<document>\n{DOCUMENT}\n</document>\n\nAnd here is a passage of it:\n<passage>\n{CHUNK}\n"
    "</passage>\n\nSay in one short sentence what the passage is about and where in the document it stands, so that it "
    "can be found by a search. Answer with the sentence alone."
)


async def contexts(
    inference: RoutedInference, call: Call, model: str, sizes: ContextualSizes, text: str, pieces: Sequence[TextChunk]
) -> list[str]:
    """A sentence for each of the pieces of the document `text`, in their order."""
    places = asyncio.Semaphore(sizes.max_concurrency)

    async def ask(piece: TextChunk) -> str:
        async with places:
            return await _asked(inference, call, model, sizes, text, piece)

    tasks = [asyncio.create_task(ask(piece)) for piece in pieces]
    try:
        return [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _asked(
    inference: RoutedInference, call: Call, model: str, sizes: ContextualSizes, text: str, piece: TextChunk
) -> str:
    before, _, after = (sizes.context_prompt or PROMPT).partition(CHUNK)
    content = before.replace(DOCUMENT, text) + piece.text + after.replace(DOCUMENT, text)
    messages = [{"role": "user", "content": content}]
    request = ChatCompletionRequest.model_validate(
        {"model": model, "messages": messages, "max_tokens": MOST_TOKENS, "temperature": 0, "store": False}
    )
    try:
        async with asyncio.timeout(sizes.timeout_seconds):
            reply = await inference.post_chat_completion(call, request)
    except TimeoutError as error:
        raise UpstreamTimeout(f"{model} gave no context for a chunk within {sizes.timeout_seconds} s.") from error
    assert isinstance(reply, ChatCompletion)
    return " ".join(said_in(reply).split())


def joined(context: str, piece: TextChunk, tokenizer: Tokenizer, most: int | None) -> str:
    """What is embedded: the context before the chunk, as much of it as there is room for."""
    if most is not None:
        room = most - len(tokenizer.spans(piece.text))
        spans = tokenizer.spans(context)
        if len(spans) > room:
            context = context[: spans[room - 1][1]] if room > 0 else ""
    return f"{context}\n\n{piece.text}" if context else piece.text
