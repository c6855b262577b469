"""Messages of OpenAI's as turns of Converse's, in which user and assistant take turns and system texts stand apart.

Format: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html
"""

import hashlib
import re
from typing import Any

import orjson

from apps.inference.providers.remote.bedrock.content import MARK, Content, cache_point, text
from apps.inference.providers.unsupported import JSON, Lacks
from apps.inference.schemas import Message, ToolCall
from llamastack.errors import BadRequest

TOOL_USE_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
KNOWN = {"assistant": (MARK, "thinking_blocks", "refusal"), "tool": (MARK, "is_error")}


class Conversation:
    """The `system` blocks and the `turns` of one request, and the names of the tools that were `called` in them."""

    def __init__(self, messages: list[Message], lacks: Lacks) -> None:
        self.lacks, self.content = lacks, Content(lacks)
        self.system: list[JSON] = []
        self.turns: list[JSON] = []
        self.called: dict[str, None] = {}
        for place, message in enumerate(messages):
            self._add(message, f"messages[{place}]")
        if not self.turns or self.turns[0]["role"] != "user":
            raise BadRequest("On Amazon Bedrock a conversation begins with a message of the user.", param="messages")

    def _add(self, message: Message, where: str) -> None:
        extra = message.model_extra or {}
        self.lacks.of_message(message, where, KNOWN.get(message.role, (MARK,)))
        mark = cache_point(extra.get(MARK), f"{where}.{MARK}")
        match message.role:
            case "system" | "developer":
                self.system += self._only_text(self.content.blocks(message.content, where), where) + mark
            case "user":
                blocks = self.content.blocks(message.content, where)
                if not blocks:
                    raise BadRequest(
                        f"'{where}.content' is empty, which Amazon Bedrock refuses.", param=f"{where}.content"
                    )
                self._say("user", blocks + mark)
            case "assistant":
                self._say("assistant", self._assistants(message, extra, where) + mark)
            case "tool":
                self._say("user", [self._result(message, where), *mark])
            case _:
                self.lacks.note(f"{where}.role", "Send the role 'tool', which has replaced it.")

    def _say(self, role: str, blocks: list[JSON]) -> None:
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"] += blocks
        elif blocks:
            self.turns.append({"role": role, "content": blocks})

    def _only_text(self, blocks: list[JSON], where: str) -> list[JSON]:
        if any("text" not in block and "cachePoint" not in block for block in blocks):
            raise BadRequest(f"'{where}.content' is to be text: it instructs the model.", param=f"{where}.content")
        return blocks

    def _assistants(self, message: Message, extra: JSON, where: str) -> list[JSON]:
        blocks = self._thoughts(extra, where) + self.content.blocks(message.content, where)
        blocks += text(str(extra.get("refusal") or ""))
        for place, call in enumerate(message.tool_calls or ()):
            if isinstance(call, ToolCall):
                blocks.append(self._call(call, f"{where}.tool_calls[{place}]"))
            else:
                self.lacks.note(f"{where}.tool_calls[{place}].type")
        return blocks

    def _thoughts(self, extra: JSON, where: str) -> list[JSON]:
        """As they came. `reasoning_content` alone is not sent: Claude takes none that it has not signed."""
        blocks = extra.get("thinking_blocks") or []
        if not isinstance(blocks, list):
            raise BadRequest(f"'{where}.thinking_blocks' is to be a list.", param=f"{where}.thinking_blocks")
        return [_thought(block, f"{where}.thinking_blocks[{place}]") for place, block in enumerate(blocks)]

    def _call(self, call: ToolCall, where: str) -> JSON:
        self.called[call.function.name] = None
        self.lacks.of_call(call, where)
        given = arguments(call.function.arguments, f"{where}.function.arguments")
        return {"toolUse": {"toolUseId": tool_use_id(call.id), "name": call.function.name, "input": given}}

    def _result(self, message: Message, where: str) -> JSON:
        content = self.content.blocks(message.content, where)
        if any("audio" in block or "cachePoint" in block for block in content):
            self.lacks.note(f"{where}.content", "A tool's result holds texts, images and documents; mark the message.")
            content = [block for block in content if "audio" not in block and "cachePoint" not in block]
        failed = {"status": "error"} if (message.model_extra or {}).get("is_error") is True else {}
        return {"toolResult": {"toolUseId": tool_use_id(str(message.tool_call_id)), "content": content, **failed}}


def tool_use_id(own: str) -> str:
    """An id that Converse would not take, as one that it does: the same one for the call and for its result."""
    return own if TOOL_USE_ID.fullmatch(own) else f"call_{hashlib.sha256(own.encode()).hexdigest()[:32]}"


def arguments(written: str, where: str) -> Any:
    try:
        given = orjson.loads(written) if written.strip() else {}
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"'{where}' is not valid JSON, and Amazon Bedrock takes no other.", param=where) from error
    if not isinstance(given, dict):
        raise BadRequest(f"'{where}' is to be a JSON object.", param=where)
    return given


def _thought(block: Any, where: str) -> JSON:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "redacted_thinking" and isinstance(block.get("data"), str):
        return {"reasoningContent": {"redactedContent": block["data"]}}
    if kind != "thinking" or not isinstance(block.get("thinking"), str):
        raise BadRequest(
            f"'{where}' is to be a 'thinking' block with its 'signature', or 'redacted_thinking' with its 'data'.",
            param=where,
        )
    signature = {"signature": block["signature"]} if isinstance(block.get("signature"), str) else {}
    return {"reasoningContent": {"reasoningText": {"text": block["thinking"], **signature}}}
