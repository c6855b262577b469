"""Messages of OpenAI's as the system prompt and the turns of Anthropic's.

A turn is all that one side says before the other does: neighbours of one role become one, and the results of tools,
which are messages of their own at OpenAI, begin the user's turn after their calls, as Anthropic demands. What system
and developer say in the middle of a conversation goes to the end of the system prompt, as Anthropic's own OpenAI door
has it (https://platform.claude.com/docs/en/api/openai-sdk): few models take it where it stood.
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2s
from typing import Any

import orjson

from apps.inference.providers.remote.anthropic.content import MARKS, blocks
from apps.inference.providers.unsupported import JSON, NOTHING, Lacks
from apps.inference.schemas import Message, ToolCall
from llamastack.errors import BadRequest

ID = re.compile(r"[a-zA-Z0-9_-]+")
THINKING = {"thinking": ("type", "thinking", "signature"), "redacted_thinking": ("type", "data")}
ASSISTANT = ("thinking_blocks", "extra_content", "refusal", *MARKS)
RESULT = ("is_error", *MARKS)


class Turns:
    """What both sides have said so far."""

    def __init__(self) -> None:
        self.system: list[JSON] = []
        self.turns: list[JSON] = []
        self._results = 0  # of tools, with which the last turn begins

    def say(self, role: str, content: Sequence[JSON]) -> None:
        if content:
            self._turn(role).extend(content)

    def result(self, block: JSON) -> None:
        """It goes before whatever else the user says after the calls."""
        self._turn("user").insert(self._results, block)
        self._results += 1

    def _turn(self, role: str) -> list[JSON]:
        if not self.turns or self.turns[-1]["role"] != role:
            self.turns.append({"role": role, "content": []})
            self._results = 0
        content: list[JSON] = self.turns[-1]["content"]
        return content


def conversation(messages: Iterable[Message], lacks: Lacks) -> Turns:
    spoken = Turns()
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        if message.role == "assistant":
            spoken.say("assistant", _answer(message, where, lacks))
        elif message.role == "tool":
            spoken.result(_result(message, where, lacks))
        elif message.role == "function":
            lacks.note(f"{where}.role", "Send what a function answered as a message of role 'tool'.")
        else:
            said = _marked(blocks(message.content, where, lacks), lacks.of_message(message, where, MARKS))
            if message.role == "user":
                spoken.say("user", said)
            else:
                spoken.system.extend(_texts(said, where, lacks))
    if not spoken.turns:
        raise BadRequest("Claude asks for a message of the user that says something.", param="messages")
    return spoken


def call_id(own: str) -> str:
    """An id as Anthropic allows it: that of another vendor's call may hold other characters, or none."""
    return own if ID.fullmatch(own) else f"call_{blake2s(own.encode(), digest_size=12).hexdigest()}"


def _answer(message: Message, where: str, lacks: Lacks) -> list[JSON]:
    extra = lacks.of_message(message, where, ASSISTANT)
    if (whole := _verbatim(extra.get("extra_content"), where)) is not None:
        return whole
    said = [*_thoughts(extra.get("thinking_blocks"), where), *blocks(message.content, where, lacks)]
    refusal = extra.get("refusal")
    if isinstance(refusal, str) and not message.content:
        said.extend(blocks(refusal, where, lacks))
    for place, call in enumerate(message.tool_calls or ()):
        if isinstance(call, ToolCall):
            said.append(_call(call, f"{where}.tool_calls[{place}]", lacks))
        else:
            lacks.note(f"{where}.tool_calls[{place}].type")
    return _marked(said, {name: extra[name] for name in MARKS if name in extra})


def _verbatim(extra: Any, where: str) -> list[JSON] | None:
    """An answer in which Anthropic's own tools were used comes back block by block, as it was told."""
    if not isinstance(extra, dict) or not isinstance(extra.get("anthropic"), dict):
        return None
    content = extra["anthropic"].get("content")
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        name = f"{where}.extra_content.anthropic.content"
        raise BadRequest(f"'{name}' is the list of content blocks that an answer came with.", param=name)
    return content


def _thoughts(given: Any, where: str) -> list[JSON]:
    if given in NOTHING:
        return []
    name = f"{where}.thinking_blocks"
    if not isinstance(given, list):
        raise BadRequest(f"'{name}' is a list of the blocks that an answer came with.", param=name)
    return [_thought(item, name) for item in given]


def _thought(item: Any, where: str) -> JSON:
    kind = item.get("type") if isinstance(item, dict) else None
    fields = THINKING.get(kind) if isinstance(kind, str) else None
    if fields is None or not all(isinstance(item.get(name), str) for name in fields):
        raise BadRequest(
            f"'{where}' holds a block that no answer came with: each has type, thinking and signature, or the type "
            "'redacted_thinking' and data.",
            param=where,
        )
    return {name: item[name] for name in fields}


def _call(call: ToolCall, where: str, lacks: Lacks) -> JSON:
    marks = lacks.of_call(call, where, MARKS)
    arguments = _arguments(call.function.arguments, f"{where}.function.arguments")
    return {"type": "tool_use", "id": call_id(call.id), "name": call.function.name, "input": arguments} | marks


def _arguments(written: str, where: str) -> JSON:
    try:
        read = orjson.loads(written) if written.strip() else {}
    except orjson.JSONDecodeError:
        read = None
    if not isinstance(read, dict):
        raise BadRequest(f"'{where}' is not the JSON of an object, which Claude's calls are made with.", param=where)
    return read


def _result(message: Message, where: str, lacks: Lacks) -> JSON:
    extra = lacks.of_message(message, where, RESULT)
    said = blocks(message.content, where, lacks)
    answered = {"type": "tool_result", "tool_use_id": call_id(message.tool_call_id or "")}
    return answered | ({"content": said} if said else {}) | extra


def _texts(said: list[JSON], where: str, lacks: Lacks) -> list[JSON]:
    if any(block["type"] != "text" for block in said):
        lacks.note(f"{where}.content", "A system prompt is text alone.")
    return [block for block in said if block["type"] == "text"]


def _marked(said: list[JSON], marks: JSON) -> list[JSON]:
    """A mark on a whole message is one on its last block."""
    if said and marks:
        said[-1] = marks | said[-1]
    return said
