"""The OpenAI dialect as vendors really write it, put right before it is read with our own types.

mended          answers.py   a whole answer: its choices, messages, tool calls, usage
ChatStream      streams.py   the events of a streamed chat, as the chunks that OpenAI would have sent
TextStream      streams.py   the same for completions

Nothing a vendor says is lost: what we do not know stays where it was, and a finish reason that is not OpenAI's stands
beside the one it means, as `native_finish_reason`. What a vendor leaves out is not invented: neither usage nor an end.
"""

from apps.inference.dialect.answers import JSON, AnswerFailed, Malformed, known_usage, mended, mended_embeddings
from apps.inference.dialect.streams import Calls, ChatStream, Stream, TextStream

__all__ = [
    "JSON",
    "AnswerFailed",
    "Calls",
    "ChatStream",
    "Malformed",
    "Stream",
    "TextStream",
    "known_usage",
    "mended",
    "mended_embeddings",
]
