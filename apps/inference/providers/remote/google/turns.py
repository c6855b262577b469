"""A conversation in Google's words: what was said as `contents`, what rules it as `systemInstruction`.

Google knows two roles. A tool's result is a turn of the user, those of parallel calls are one turn, and each names its
function (https://ai.google.dev/gemini-api/docs/function-calling). All system and developer messages are one
instruction, wherever they stood. Of thought signatures: https://ai.google.dev/gemini-api/docs/thought-signatures and
https://ai.google.dev/gemini-api/docs/openai (`extra_content`).
"""

from bisect import bisect
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from apps.inference.providers.remote.google import media
from apps.inference.providers.unsupported import JSON, Lacks
from apps.inference.schemas.chat import ContentPart, ImagePart, Message, TextPart
from apps.inference.schemas.tools import AnyToolCall, ToolCall
from llamastack.errors import BadRequest

# What Google names for calls that no Gemini made, or whose signature a client has lost: Gemini 3 takes none without.
NO_SIGNATURE = "skip_thought_signature_validator"
# What an assistant's message may have beside our own fields, because our answers, or OpenAI's, have it.
ASSISTANT = ("reasoning_content", "thinking_blocks", "extra_content", "images", "refusal", "function_call")


class Turns:
    """Collects the messages of one request. `lacks` notes what Google has no word for; it is then left out.

    `signed`: the model takes no call of a tool without a signature. `ids`: it takes the ids of calls; without them
    results are told apart by their order.
    """

    def __init__(self, lacks: Lacks, *, signed: bool, ids: bool) -> None:
        self.lacks = lacks
        self.signed = signed
        self.ids = ids
        self.contents: list[JSON] = []
        self.system: list[JSON] = []
        self.called: dict[str, tuple[int, str]] = {}  # of each call by its id the place, and its function's name
        self.calls = 0
        self.results: list[JSON] | None = None  # of the calls of one turn
        self.places: list[int] = []  # of these calls among all
        self.details: set[str] = set()  # in which images are to be seen

    def add(self, message: Message, where: str) -> None:
        if message.role not in ("tool", "function"):
            self.results = None
        if message.role == "assistant":
            self._assistant(message, where)
        elif message.role in ("tool", "function"):
            self._result(message, where)
        elif message.role == "user":
            self.lacks.of_message(message, where)
            self._turn("user", list(self._parts(message.content, f"{where}.content")))
        else:
            self.lacks.of_message(message, where)
            self.system += self._texts(message, where)

    def _turn(self, role: str, parts: list[JSON]) -> None:
        if parts:
            self.contents.append({"role": role, "parts": parts})

    def _texts(self, message: Message, where: str) -> Iterator[JSON]:
        for part in self._parts(message.content, f"{where}.content"):
            if "text" not in part:
                raise BadRequest("Google takes a system message as text alone.", param=f"{where}.content")
            yield part

    def _parts(self, content: str | Sequence[ContentPart] | None, where: str) -> Iterator[JSON]:
        if isinstance(content, str):
            yield {"text": content}
            return
        for place, part in enumerate(content or ()):
            yield self._part(part, f"{where}[{place}]")

    def _part(self, part: ContentPart, where: str) -> JSON:
        self.lacks.taken(part.model_extra, (part.type, "extra_content"), f"{where}.")
        if isinstance(part, TextPart):
            return {"text": part.text} | signature_of(part.model_extra)
        if isinstance(part, ImagePart):
            self.lacks.taken(part.image_url.model_extra, ("format",), f"{where}.image_url.")
            self.details |= {part.image_url.detail or "auto"}
            return media.image(part, where) | signature_of(part.model_extra)
        if part.type == "refusal":
            return {"text": str((part.model_extra or {}).get("refusal"))}
        inner = (part.model_extra or {}).get(part.type)
        if isinstance(inner, dict):
            self.lacks.taken(inner, media.FIELDS[part.type], f"{where}.{part.type}.")
        return media.other(part, where)

    def _assistant(self, message: Message, where: str) -> None:
        self.lacks.of_message(message, where, ASSISTANT)
        beyond = message.model_extra or {}
        spoken = [*self._parts(message.content, f"{where}.content")] if message.content else []
        if refusal := beyond.get("refusal"):
            spoken.append({"text": str(refusal)})
        calls = [*self._calls(message.tool_calls or (), f"{where}.tool_calls"), *self._old_call(beyond, where)]
        signature = signature_of(beyond)
        if signature:
            spoken = [*spoken[:-1], (spoken[-1] if spoken else {"text": ""}) | signature]
        elif calls and self.signed and "thoughtSignature" not in calls[0]:
            calls[0]["thoughtSignature"] = NO_SIGNATURE
        images = [self._shown(image, f"{where}.images[{i}]") for i, image in enumerate(beyond.get("images") or ())]
        self._turn("model", [*_native(beyond), *_thoughts(beyond), *spoken, *images, *calls])

    def _shown(self, image: Any, where: str) -> JSON:
        """An image that a model made, as our answers have it."""
        try:
            return media.from_url(image["image_url"]["url"], where) | signature_of(image)
        except (TypeError, KeyError) as error:
            raise BadRequest("An image is given as {'image_url': {'url': …}}.", param=where) from error

    def _calls(self, calls: Sequence[AnyToolCall], where: str) -> Iterator[JSON]:
        for place, call in enumerate(calls):
            if not isinstance(call, ToolCall):
                self.lacks.note(f"{where}[{place}].type")
                continue
            self.lacks.of_call(call, f"{where}[{place}]")
            self.calls += 1
            self.called[call.id] = self.calls, call.function.name
            args = arguments(call.function.arguments, f"{where}[{place}].function.arguments")
            told = {"name": call.function.name, "args": args}
            yield {"functionCall": {"id": call.id} | told if self.ids else told} | signature_of(call.model_extra)

    def _old_call(self, beyond: JSON, where: str) -> Iterator[JSON]:
        """The one call that OpenAI's messages had before they had tools."""
        if not (call := beyond.get("function_call")):
            return
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise BadRequest("A function's call has a 'name' and 'arguments'.", param=f"{where}.function_call")
        args = arguments(str(call.get("arguments") or ""), f"{where}.function_call.arguments")
        yield {"functionCall": {"name": call["name"], "args": args}}

    def _result(self, message: Message, where: str) -> None:
        self.lacks.of_message(message, where)
        place, known = self.called.get(message.tool_call_id or "", (self.calls, None))
        if (name := known or message.name) is None:
            return  # of a call that was refused, and left out
        parts = list(self._parts(message.content, f"{where}.content"))
        told: JSON = {"name": name, "response": response("\n".join(part["text"] for part in parts if "text" in part))}
        if message.tool_call_id is not None and self.ids:
            told = {"id": message.tool_call_id} | told
        if seen := [part for part in parts if "text" not in part]:
            told["parts"] = seen
        if self.results is None:
            self.results, self.places = [], []
            self.contents.append({"role": "user", "parts": self.results})
        at = bisect(self.places, place)
        self.places.insert(at, place)
        self.results.insert(at, {"functionResponse": told})


def response(text: str) -> JSON:
    """A tool's result. Google takes objects: any other is its `output`."""
    if text[:1] == "{":
        try:
            told = orjson.loads(text)
            return told if isinstance(told, dict) else {"output": text}
        except orjson.JSONDecodeError:
            pass
    return {"output": text}


def arguments(text: str, where: str) -> JSON:
    """A call's arguments, which OpenAI has as text and Google as an object."""
    try:
        told = orjson.loads(text) if text.strip() else {}
    except orjson.JSONDecodeError:
        told = None
    if not isinstance(told, dict):
        raise BadRequest("Google takes the arguments of a call as a JSON object alone.", param=where)
    return told


def signature_of(beyond: JSON | None) -> JSON:
    """The signature that a message, a part or a call brings back. What other vendors put there is not Google's."""
    google = _google(beyond)
    signature = google.get("thought_signature") or google.get("thoughtSignature")
    return {"thoughtSignature": signature} if isinstance(signature, str) else {}


def _google(beyond: JSON | None) -> JSON:
    extra = (beyond or {}).get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    return google if isinstance(google, dict) else {}


def _native(beyond: JSON) -> list[JSON]:
    """Parts that OpenAI has no word for, as our answers have kept them: code that Google ran, and its output."""
    parts = _google(beyond).get("parts")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _thoughts(beyond: JSON) -> Iterator[JSON]:
    """What was thought, by our name for it, or else by the one of a vendor that signs its blocks."""
    if thought := beyond.get("reasoning_content"):
        yield {"text": str(thought), "thought": True}
        return
    for block in beyond.get("thinking_blocks") or ():
        if isinstance(block, dict) and isinstance(block.get("thinking"), str):
            yield {"text": block["thinking"], "thought": True}
