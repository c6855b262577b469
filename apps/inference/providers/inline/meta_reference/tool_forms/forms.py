"""The table of forms: how a family of models writes calls, and how it is told its tools where its template does not.

Llama 3 writes `{"name": …, "parameters": …}`, and after `<|python_tag|>` also `brave_search.call(query="…")` or code;
it can be told to write `<function=name>{…}</function>`. From 3.2 on Llama models write lists of calls in Python's
syntax too (llama-models: `llama3_1/prompt_format.md`, `llama3_2/text_prompt_format.md`). Hermes, Qwen and others that
chat in ChatML write `<tool_call>{"name": …, "arguments": …}</tool_call>`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from apps.inference.providers.inline.meta_reference.tool_forms.values import json_object
from apps.inference.schemas import Function, FunctionCall

NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True)
class Form:
    """One family's way. `mark` is what calls stand after, and `end` what may stand after them.

    `special` says that these are special tokens, which a client never sees as text.
    `bare` says that calls may also begin an answer without any mark. A call is written as `begin`, its name, `middle`,
    its arguments as JSON, and `finish`; `between` stands between two of them.
    """

    name: str
    mark: str
    end: str
    special: bool
    bare: bool
    begin: str
    middle: str
    finish: str
    between: str
    tags: bool = False  # `<function=name>{…}</function>` is a call too

    def written(self, calls: Sequence[FunctionCall]) -> str:
        """Earlier calls as the model would have written them."""
        return self.between.join(self.call(call.name, call.arguments) for call in calls)

    def call(self, name: str, arguments: str) -> str:
        return f"{self.begin}{name}{self.middle}{arguments or '{}'}{self.finish}"

    def told(self, functions: Sequence[Function]) -> str:
        """A system text that lists the tools and the form of a call."""
        tools = "\n".join(json.dumps(described(function), ensure_ascii=False) for function in functions)
        example = self.call("NAME", '{"PARAMETER": VALUE}')
        return (
            f"You can call these tools, each given as JSON with the schema of its parameters:\n{tools}\n"
            f"To call a tool, answer with exactly this and nothing else:\n{example}\n"
            "Call a tool only where it helps; otherwise answer in words. Once a tool has answered, use its answer."
        )


CHATML = Form(
    name="chatml",
    mark="<tool_call>",
    end="</tool_call>",
    special=False,
    bare=False,
    begin='<tool_call>\n{"name": "',
    middle='", "arguments": ',
    finish="}\n</tool_call>",
    between="\n",
)
LLAMA_3 = Form(
    name="llama3",
    mark="<|python_tag|>",
    end="<|eom_id|>",
    special=True,
    bare=True,
    begin='{"name": "',
    middle='", "parameters": ',
    finish="}",
    between="; ",
    tags=True,
)
LLAMA_4 = replace(LLAMA_3, name="llama4", mark="<|python_start|>", end="<|python_end|>")
FORMS = (LLAMA_4, LLAMA_3)


def form_of(tokenizer: Any, template: str) -> Form:
    """The form of a family: by the mark in its chat template, by the mark among its tokens, or ChatML's."""
    if CHATML.mark in template:
        return CHATML
    vocabulary = tokenizer.get_added_vocab()
    return next((form for form in FORMS if form.mark in vocabulary), CHATML)


def template_of(tokenizer: Any) -> str:
    """The chat template, or of several the one for tools."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("tool_use") or template.get("default")
    return template or ""


def described(function: Function) -> dict[str, Any]:
    """A function as models are told of it."""
    description = {} if function.description is None else {"description": function.description}
    return {"name": function.name, **description, "parameters": function.parameters or NO_PARAMETERS}


def arguments_of(call: FunctionCall) -> dict[str, Any] | str:
    """A call's arguments as templates take them: an object, or the text where it is none."""
    parsed = json_object(call.arguments or "{}")
    return call.arguments if parsed is None else parsed
