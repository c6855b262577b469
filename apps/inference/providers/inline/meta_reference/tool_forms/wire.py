"""What was read from an answer, as it travels."""

from collections.abc import Iterable

from apps.inference.providers.inline.meta_reference.tool_forms.events import Argued, Called, Event, Said, Thought
from apps.inference.providers.inline.meta_reference.tool_forms.reader import Reader
from apps.inference.schemas import (
    AssistantMessage,
    Delta,
    FinishReason,
    FunctionCall,
    FunctionDelta,
    ToolCall,
    ToolCallDelta,
)


def delta(event: Event) -> Delta:
    match event:
        case Said(text):
            return Delta(content=text)
        case Thought(text):
            return Delta(reasoning_content=text)
        case Called(index, id, name):
            function = FunctionDelta(name=name, arguments="")
            return Delta(tool_calls=[ToolCallDelta(index=index, id=id, type="function", function=function)])
        case Argued(index, text):
            return Delta(tool_calls=[ToolCallDelta(index=index, function=FunctionDelta(arguments=text))])


def whole_message(events: Iterable[Event]) -> AssistantMessage:
    """Content is null where the model only reasoned or called tools."""
    said, thought = "", ""
    calls: list[ToolCall] = []
    for event in events:
        match event:
            case Said(text):
                said += text
            case Thought(text):
                thought += text
            case Called(_, id, name):
                calls.append(ToolCall(id=id, function=FunctionCall(name=name, arguments="")))
            case Argued(_, text):
                calls[-1].function.arguments += text
    content = None if not said and (thought or calls) else said
    return AssistantMessage(content=content, reasoning_content=thought or None, tool_calls=calls or None)


def finish_reason(reader: Reader, reason: FinishReason | None) -> FinishReason | None:
    """An answer that ended by itself, and whose calls are whole, waits for their results."""
    return "tool_calls" if reason == "stop" and reader.called else reason
