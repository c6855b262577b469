"""Fields that a provider cannot honour: refused by name or, where its config says so, left out of the request."""

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic import BaseModel, Field

from apps.inference.schemas import Message, ToolCall
from apps.inference.schemas.tools import FunctionTool
from llamastack.errors import UnsupportedParameter
from llamastack.providers import ProviderConfig

log = logging.getLogger(__name__)

JSON = dict[str, Any]
SHOWN = 200  # characters of names in the log
REMEDY = "Leave it out, or set 'drop_unsupported: true' in the provider's config."

# What no answer changes by, whatever its value: who asks, what is kept and cached, and a guess of the answer.
HINTS = frozenset(
    {
        *("cache_control", "include_obfuscation", "metadata", "prediction", "prompt_cache_key"),
        *("prompt_cache_retention", "safety_identifier", "store", "user"),
    }
)
# The values of other fields that ask for what happens without them too.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "best_of": (0, 1),
    "echo": (False,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "service_tier": ("auto", "default"),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
}
# What asks for nothing inside of messages, parts and tools.
NOTHING: tuple[Any, ...] = (None, [], {}, "", False)
# The same of a request's own fields, of which an object may be empty and ask for much: `web_search_options: {}`.
UNASKED: tuple[Any, ...] = (None, [], "")
# What an assistant's message has because an answer had it: what a vendor says of its own answer. It is for that vendor,
# and no other's part of the conversation that follows, nor would one take back reasoning that it has not signed.
OF_ANSWERS = frozenset({"annotations", "citations", "extra_content", "reasoning_content", "thinking_blocks"})
OF_CALLS = frozenset({"index", "extra_content"})  # the same of its calls
# What each translation reads of a request anyway.
ALWAYS = frozenset(
    {
        *("model", "messages", "stream", "stream_options", "prompt", "input", "encoding_format", "query", "items"),
        "max_num_results",
    }
)


class GeneratesConfig(ProviderConfig):
    """What every provider that generates can be told."""

    drop_unsupported: bool = Field(
        False, description="Leave out of a request what cannot be honoured here; otherwise that is a 400"
    )


class Lacks(list[UnsupportedParameter]):
    """The refusals of one request, noted while it is translated. What is noted here is left out of what is sent."""

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self.upstream = upstream

    def note(self, name: str, remedy: str = REMEDY) -> None:
        self.append(UnsupportedParameter(name, self.upstream, remedy))

    def fields(self, request: BaseModel, known: Collection[str]) -> JSON:
        """Of a request's fields those that a vendor has words for (`known`) and that ask for something.

        The others are noted, but for hints and for values that say what happens anyway.
        """
        named, beyond = vars(request), request.model_extra or {}
        if (options := named.get("stream_options")) is not None:
            self.taken(options.model_extra, (), "stream_options.")
        for name, value in named.items():
            if name not in known and name not in ALWAYS and not is_neutral(name, value):
                self.note(name)
        for name, value in beyond.items():
            if name not in known and not is_neutral(name, value):
                self.note(name)
        given = named | beyond
        return {name: given[name] for name in known if given.get(name) is not None}

    def renamed(self, request: BaseModel, names: Mapping[str, str]) -> JSON:
        """The same, each by the vendor's name of it."""
        return {names[name]: value for name, value in self.fields(request, names).items()}

    def taken(self, extra: Mapping[str, Any] | None, known: Collection[str], where: str) -> JSON:
        """The same of what a message, a part or a tool has beside what OpenAI's have; `where` goes before its names."""
        if not extra:
            return {}
        for name, value in extra.items():
            if name not in known and name not in HINTS and value not in NOTHING:
                self.note(where + name)
        return {name: extra[name] for name in known if extra.get(name) is not None}

    def of_message(self, message: Message, where: str, known: Collection[str] = ()) -> JSON:
        """The same of a message. A tool's `name` is that of its call; a speaker's changes what is said."""
        if message.name and message.role not in ("tool", "function") and "name" not in known:
            self.note(f"{where}.name")
        extra = message.model_extra or {}
        if message.role == "assistant":
            extra = {name: value for name, value in extra.items() if name in known or name not in OF_ANSWERS}
        return self.taken(extra, known, f"{where}.")

    def of_call(self, call: ToolCall, where: str, known: Collection[str] = ()) -> JSON:
        self.taken(call.function.model_extra, (), f"{where}.function.")
        extra = {name: value for name, value in (call.model_extra or {}).items() if name not in OF_CALLS}
        return self.taken(extra, known, f"{where}.")

    def of_tool(self, tool: FunctionTool, where: str, known: Collection[str] = ()) -> JSON:
        self.taken(tool.function.model_extra, (), f"{where}.function.")
        return self.taken(tool.model_extra, known, f"{where}.")


def is_neutral(name: str, value: Any) -> bool:
    """Whether a field of a request asks for nothing that an answer would show."""
    if name in HINTS or value in UNASKED:
        return True
    # `logprobs` is false in chats, and in completions 0, which asks for some.
    return any(value == one and isinstance(value, bool) is isinstance(one, bool) for one in NEUTRAL.get(name, ()))


def to_drop(refusals: Iterable[UnsupportedParameter], config: GeneratesConfig) -> set[str]:
    """The fields to leave out of a request. Raises the first refusal where the config lets nothing be left out."""
    dropped = set()
    for refusal in refusals:
        if not config.drop_unsupported:
            raise refusal
        dropped.add(str(refusal.param))
    if dropped:
        log.info("Left out of a request: %s", ", ".join(sorted(dropped))[:SHOWN])
    return dropped
