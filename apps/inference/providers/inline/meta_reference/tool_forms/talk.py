"""How one request's conversation is told to a model, and how its answers are read."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from apps.inference.providers.inline.meta_reference.tool_forms.forms import (
    CHATML,
    Form,
    arguments_of,
    described,
    form_of,
    template_of,
)
from apps.inference.providers.inline.meta_reference.tool_forms.reader import Reader, Thinking
from apps.inference.providers.unsupported import REMEDY, GeneratesConfig, to_drop
from apps.inference.schemas import (
    AllowedToolsChoice,
    ChatCompletionRequest,
    Function,
    Message,
    NamedToolChoice,
    ToolCall,
    chosen_names,
)
from llamastack.errors import UnsupportedParameter

# Between which marks models reason. Qwen, DeepSeek and most others; Magistral; Llama.
THINKING = (
    Thinking("<think>", "</think>"),
    Thinking("[THINK]", "[/THINK]", special=True),
    Thinking("<|reasoning_thinking_start|>", "<|reasoning_thinking_end|>", special=True),
)
LOOKED_AT = 16  # tokens at a prompt's end, where a template may begin the model's reasoning
Turn = dict[str, Any]


@dataclass(frozen=True)
class Talk:
    """`told` are the functions that the model is told of, `callable` those of them that it may call.

    It `must` call one where the request says so, and calls at most `most`.
    """

    form: Form = CHATML
    template: str = ""
    told: tuple[Function, ...] = ()
    callable: tuple[Function, ...] = ()
    must: bool = False
    most: int | None = None
    thinking: Thinking | None = None
    options: dict[str, Any] = field(default_factory=dict)  # for the template
    longest_text: int | None = None  # characters of a conversation that may fit into the context

    def reader(self) -> Reader:
        """For one answer."""
        return Reader(self.form, [function.name for function in self.callable], self.thinking, self.most)

    def prompted(self, tokenizer: Any, tokens: Sequence[int]) -> "Talk":
        """After a prompt, which may have begun the model's reasoning."""
        if self.thinking is None:
            return self
        end: str = tokenizer.decode(list(tokens[-LOOKED_AT:]), skip_special_tokens=False)
        begun = end.rstrip().endswith(self.thinking.opening)
        return replace(self, thinking=replace(self.thinking, begun=begun))

    def marks(self, tokenizer: Any) -> frozenset[int]:
        """The special tokens that are read, and so are kept in the text."""
        marks = {self.form.mark, self.form.end} if self.callable else set()
        if self.thinking:
            marks |= {self.thinking.opening, self.thinking.closing}
        added = tokenizer.added_tokens_decoder.items()
        return frozenset(token for token, entry in added if entry.special and entry.content in marks)

    # --- the conversation ---

    def turns(self, turns: Sequence[Turn], messages: Sequence[Message]) -> list[Turn]:
        """The turns as the template takes them: with tools, calls, results and reasoning in the model's own form."""
        pairs = [(self._turn(turn, message), message) for turn, message in zip(turns, messages, strict=True)]
        if self._knows_tools:
            return [turn for turn, _ in pairs]
        return self._introduced(self._without_tool_role(pairs))

    @property
    def _knows_tools(self) -> bool:
        return "tools" in self.template

    def _turn(self, turn: Turn, message: Message) -> Turn:
        if message.role == "assistant":
            turn = self._reasoned(turn, message)
        if message.role == "tool" and self._knows_tools:
            return turn | {"tool_call_id": message.tool_call_id}
        calls = [call for call in message.tool_calls or () if isinstance(call, ToolCall)]
        if not calls:
            return turn
        if self._knows_tools:
            return turn | {"tool_calls": [_told(call) for call in calls]}
        return turn | {"content": joined(turn["content"], self.form.written([call.function for call in calls]))}

    def _reasoned(self, turn: Turn, message: Message) -> Turn:
        """A template that has a place for earlier reasoning gets it; otherwise it is left out."""
        extra = message.model_extra or {}
        reasoning = extra.get("reasoning_content") or extra.get("reasoning")
        content = turn["content"]
        if self.thinking and isinstance(content, str) and content.lstrip().startswith(self.thinking.opening):
            before, closed, after = content.lstrip().partition(self.thinking.closing)
            reasoning = reasoning or before.removeprefix(self.thinking.opening).strip()
            turn = turn | {"content": after.lstrip() if closed else ""}
        if isinstance(reasoning, str) and "reasoning_content" in self.template:
            return turn | {"reasoning_content": reasoning}
        return turn

    def _without_tool_role(self, pairs: Sequence[tuple[Turn, Message]]) -> list[Turn]:
        """The user tells results, those that follow each other in one turn: many templates want roles to alternate."""
        calls = [call for _, message in pairs for call in message.tool_calls or () if isinstance(call, ToolCall)]
        names: dict[str | None, str] = {call.id: call.function.name for call in calls}
        turns: list[Turn] = []
        for place, (turn, message) in enumerate(pairs):
            if message.role != "tool":
                turns.append(turn)
                continue
            result = f"The tool {names[message.tool_call_id]} answered: {text_of(turn['content'])}"
            if place and pairs[place - 1][1].role == "tool":
                turns[-1] = turns[-1] | {"content": joined(turns[-1]["content"], result)}
            else:
                turns.append({"role": "user", "content": like(turn["content"], result)})
        return turns

    def _introduced(self, turns: list[Turn]) -> list[Turn]:
        """A system text of ours that lists the tools, after the client's."""
        if not self.told:
            return turns
        text = self.form.told(self.told)
        if turns[0]["role"] == "system":
            return [turns[0] | {"content": joined(turns[0]["content"], text, "\n\n")}, *turns[1:]]
        return [{"role": "system", "content": like(turns[0]["content"], text)}, *turns]


PLAIN = Talk()  # without tools and reasoning


def talk(tokenizer: Any, request: ChatCompletionRequest, config: GeneratesConfig) -> Talk:
    """Raises UnsupportedParameter, as the config says, for a reasoning_effort that the template does not take."""
    template = template_of(tokenizer)
    told = tuple(_offered(request))
    named = set(chosen_names(request.tool_choice))
    options: dict[str, Any] = _effort(template, request.reasoning_effort, config)
    if told and "tools" in template:
        options["tools"] = [{"type": "function", "function": described(function)} for function in told]
    added = tokenizer.get_added_vocab()
    return Talk(
        form=form_of(tokenizer, template),
        template=template,
        told=told,
        callable=tuple(function for function in told if not named or function.name in named),
        must=bool(told) and _must(request),
        most=1 if request.parallel_tool_calls is False or isinstance(request.tool_choice, NamedToolChoice) else None,
        thinking=next((one for one in THINKING if one.closing in template or one.opening in added), None),
        options=options,
    )


def _offered(request: ChatCompletionRequest) -> list[Function]:
    if request.tool_choice == "none":
        return []
    if isinstance(request.tool_choice, AllowedToolsChoice):
        allowed = chosen_names(request.tool_choice)
        return [function for function in request.functions if function.name in allowed]
    return request.functions


def _must(request: ChatCompletionRequest) -> bool:
    choice = request.tool_choice
    if isinstance(choice, AllowedToolsChoice):
        return choice.allowed_tools.mode == "required"
    return choice == "required" or isinstance(choice, NamedToolChoice)


def _effort(template: str, effort: str | None, config: GeneratesConfig) -> dict[str, Any]:
    """Where a template only knows whether to reason, the effort `none` says that it shall not."""
    if effort is None:
        return {}
    if "reasoning_effort" in template:
        return {"reasoning_effort": effort}
    if "enable_thinking" in template and effort == "none":
        return {"enable_thinking": False}
    remedy = f"It can only be 'none'. {REMEDY}" if "enable_thinking" in template else REMEDY
    to_drop([UnsupportedParameter("reasoning_effort", "This model", remedy)], config)
    return {}


def _told(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.function.name, "arguments": arguments_of(call.function)}
    return {"id": call.id, "type": "function", "function": function}


def one_by_one(turns: Sequence[Turn]) -> list[Turn]:
    """Each call in a turn of its own with its result after it: Llama 3.1's template refuses several in one turn."""
    results = {turn["tool_call_id"]: turn for turn in turns if "tool_call_id" in turn}
    placed: set[str] = set()
    apart: list[Turn] = []
    for turn in turns:
        calls = turn.get("tool_calls", ())
        for place, call in enumerate(calls if len(calls) > 1 else ()):
            content = like(turn["content"], "") if place else turn["content"]
            result = results.get(call["id"])
            apart += [turn | {"content": content, "tool_calls": [call]}, *([result] if result else [])]
            placed.add(call["id"])
        if len(calls) < 2 and turn.get("tool_call_id") not in placed:
            apart.append(turn)
    return apart


# A content is text or, for templates of models that see, a list of parts.


def text_of(content: str | list[dict[str, str]]) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def like(content: str | list[dict[str, str]], text: str) -> str | list[dict[str, str]]:
    """The text in the shape of that content."""
    return text if isinstance(content, str) else [{"type": "text", "text": text}]


def joined(content: str | list[dict[str, str]], text: str, between: str = "\n") -> str | list[dict[str, str]]:
    if isinstance(content, str):
        return f"{content}{between}{text}" if content else text
    return [*content, {"type": "text", "text": f"{between}{text}" if text_of(content) else text}]
