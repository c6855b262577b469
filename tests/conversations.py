"""Conversations that any client may send, for property tests of what is made of them, and what they mean.

A vendor's own test reads what its provider sends with a reader of the test's own, and compares meanings:

    @given(requests())
    def test_a_conversation_there_and_back_keeps_its_meaning(body):
        sent = translated(ChatCompletionRequest.model_validate(body)).body
        assert meaning(VENDOR.question(CHAT, sent)) == meaning(body)
"""

import json
from typing import Any

from hypothesis import strategies as st

JSON = dict[str, Any]
Strategy = st.SearchStrategy[Any]

PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)
URLS = ("https://images.example/cat.png", "https://images.example/a%20dog.jpg?size=2")
NAMES = ("get_weather", "get_time", "search-files", "send_mail")
EFFORTS = ("low", "medium", "high")

# --- what is sent ---

# Nothing that a normal form takes away: no blanks at the ends, no two of them.
WORDS = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=8)
TEXTS = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)
SCALARS: Strategy = st.none() | st.booleans() | st.integers(-(2**31), 2**31) | TEXTS
VALUES: Strategy = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2), max_leaves=4
)
OBJECTS = st.dictionaries(WORDS, VALUES, max_size=3)
FIELDS = st.sampled_from(("city", "when", "how_many", "exact", "among"))
FIELD_SCHEMAS = st.sampled_from(
    (
        {"type": "string"},
        {"type": "string", "enum": ["metric", "imperial"]},
        {"type": "integer", "description": "At least one"},
        {"type": "boolean"},
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    )
)


@st.composite
def schemas(draw: st.DrawFn) -> JSON:
    """The JSON Schema of an object, of what every vendor knows."""
    properties = draw(st.dictionaries(FIELDS, FIELD_SCHEMAS, max_size=3))
    required = draw(st.lists(st.sampled_from(sorted(properties)), unique=True)) if properties else []
    return (
        {"type": "object", "properties": properties, "required": required}
        if required
        else {
            "type": "object",
            "properties": properties,
        }
    )


@st.composite
def tools(draw: st.DrawFn) -> list[JSON]:
    return [draw(_tool(name)) for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))]


@st.composite
def _tool(draw: st.DrawFn, name: str) -> JSON:
    function: JSON = {"name": name}
    if draw(st.booleans()):
        function["description"] = draw(TEXTS)
    if draw(st.integers(0, 3)):
        function["parameters"] = draw(schemas())
    return {"type": "function", "function": function}


def texts() -> Strategy:
    """The content of a message that has text alone: as it is, or in parts."""
    return TEXTS | st.lists(TEXTS.map(_text), min_size=1, max_size=3)


def contents(images: bool = True, addresses: bool = True) -> Strategy:
    """The content of a user's message. `images`: with images in it; `addresses`: and with some that a URL names."""
    urls = (PNG, *URLS) if addresses else (PNG,)
    image = st.sampled_from(urls).map(lambda url: {"type": "image_url", "image_url": {"url": url}})
    parts = TEXTS.map(_text) | image if images else TEXTS.map(_text)
    return TEXTS | st.lists(parts, min_size=1, max_size=3)


def _text(said: str) -> JSON:
    return {"type": "text", "text": said}


@st.composite
def _exchange(draw: st.DrawFn, names: list[str], number: int, images: bool, addresses: bool) -> list[JSON]:
    """What a user says and what is answered to it, with calls and their results where there are tools."""
    said = draw(st.lists(contents(images, addresses).map(lambda c: {"role": "user", "content": c}), max_size=2))
    said = said or [{"role": "user", "content": draw(contents(images, addresses))}]
    called: list[JSON] = []
    if names and draw(st.booleans()):
        called = draw(_calls(names, number))
    return [*said, *called, {"role": "assistant", "content": draw(texts())}]


@st.composite
def _calls(draw: st.DrawFn, names: list[str], number: int) -> list[JSON]:
    """Parallel calls, of one tool too, and their results in any order."""
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
    calls = []
    for place, name in enumerate(chosen):
        function = {"name": name, "arguments": json.dumps(draw(OBJECTS))}
        calls.append({"id": f"call_{number}_{place}", "type": "function", "function": function})
    turn: JSON = {"role": "assistant", "tool_calls": calls}
    if draw(st.booleans()):
        turn["content"] = draw(TEXTS)
    results = [{"role": "tool", "tool_call_id": one["id"], "content": draw(_results())} for one in calls]
    return [turn, *draw(st.permutations(results))]


def _results() -> Strategy:
    return texts() | OBJECTS.map(json.dumps)


def choices(names: list[str]) -> Strategy:
    """A tool_choice in each of its forms."""
    function = st.sampled_from(names).map(lambda name: {"type": "function", "function": {"name": name}})
    allowed = st.lists(function, min_size=1, max_size=2, unique_by=lambda one: one["function"]["name"])
    mode = st.sampled_from(("auto", "required"))
    listed = st.builds(lambda m, t: {"type": "allowed_tools", "allowed_tools": {"mode": m, "tools": t}}, mode, allowed)
    return st.sampled_from(("none", "auto", "required")) | function | listed


def formats(plain: bool = True) -> Strategy:
    """`plain`: any JSON object too, which is more than some vendors can be asked for."""
    schema = schemas().map(lambda s: {"type": "json_schema", "json_schema": {"name": "answer", "schema": s}})
    kinds = st.just({"type": "text"}) | schema
    return kinds | st.just({"type": "json_object"}) if plain else kinds


@st.composite
def requests(
    draw: st.DrawFn,
    *,
    images: bool = True,
    addresses: bool = True,
    any_json: bool = True,
    without: tuple[str, ...] = (),
    model: str = "sky",
) -> JSON:
    """The body of a valid chat completion.

    `without` names fields that are left out, `tools` and `system` with all that follows from them.
    """
    given = draw(tools()) if "tools" not in without and draw(st.booleans()) else []
    names = [tool["function"]["name"] for tool in given]
    messages: list[JSON] = []
    if "system" not in without:
        role = st.sampled_from(("system", "developer"))
        messages += [{"role": draw(role), "content": draw(texts())} for _ in range(draw(st.integers(0, 2)))]
    for number in range(draw(st.integers(0, 2))):
        messages += draw(_exchange(names, number, images, addresses))
    messages += draw(_last(names, images, addresses))
    fields = _fields(any_json) | ({"tools": st.just(given), "tool_choice": choices(names)} if given else {})
    if given:
        fields["parallel_tool_calls"] = st.booleans()
    body: JSON = {"model": model, "messages": messages}
    for name, value in fields.items():
        if name not in without and (name == "tools" or draw(st.booleans())):
            body[name] = draw(value)
    return body


@st.composite
def _last(draw: st.DrawFn, names: list[str], images: bool, addresses: bool) -> list[JSON]:
    """What is to be answered: what a user says, or the results of calls."""
    said = {"role": "user", "content": draw(contents(images, addresses))}
    return [said, *(draw(_calls(names, 9)) if names and draw(st.booleans()) else [])]


def _fields(any_json: bool) -> dict[str, Strategy]:
    return {
        "response_format": formats(any_json),
        "stop": TEXTS | st.lists(TEXTS, min_size=1, max_size=4),
        "max_completion_tokens": st.integers(1, 4096),
        "temperature": st.sampled_from((0.0, 0.5, 1.0)),
        "top_p": st.sampled_from((0.1, 0.9)),
        "reasoning_effort": st.sampled_from(EFFORTS),
        "user": WORDS,
    }


# --- what is meant ---


def meaning(body: JSON) -> JSON:
    """A normal form of a chat completion's body: two of them mean the same where it is equal.

    Texts next to each other are one, and blanks between words are all the same; what system and developer say stands
    at the beginning; turns of one role are one; calls are numbered, and results are in the order of their calls; of
    tools those are left that may be called, and how, and where one must be, there is no format of an answer; defaults
    are left out.
    """
    numbers: dict[str, int] = {}
    said = [turn for message in body["messages"] for turn in _meant(message, numbers)]
    system = [part["text"] for role, parts in said if role == "system" for part in parts]
    meant = {"system": _words(system), "turns": _joined([turn for turn in said if turn[0] != "system"])}
    meant |= _tools_meant(body)
    meant |= {} if meant.get("tool_choice") == "required" else _format_meant(body.get("response_format"))
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    stops = [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop")
    plain = {name: body.get(name) for name in ("temperature", "top_p", "seed", "reasoning_effort", "user")}
    plain |= {"limit": limit, "stop": stops or None, "n": body.get("n") if body.get("n") != 1 else None}
    plain = {name: value for name, value in plain.items() if (name, value) not in (("temperature", 1), ("top_p", 1))}
    return meant | {name: value for name, value in plain.items() if value is not None}


def _meant(message: JSON, numbers: dict[str, int]) -> list[tuple[str, list[JSON]]]:
    parts = _parts(message.get("content"))
    match message["role"]:
        case "system" | "developer":
            return [("system", parts)]
        case "tool":
            return [("result", [{"of": numbers[message["tool_call_id"]], "content": _result(parts)}])]
        case "assistant":
            for call in message.get("tool_calls") or ():
                numbers[call["id"]] = len(numbers)
                arguments = json.loads(call["function"]["arguments"] or "{}")
                parts.append({"call": numbers[call["id"]], "name": call["function"]["name"], "arguments": arguments})
            return [("assistant", parts)]
    return [("user", parts)]


def _parts(content: Any) -> list[JSON]:
    listed = [_text(content)] if isinstance(content, str) else content or []
    kept: list[JSON] = []
    for part in listed:
        if part["type"] == "image_url":
            kept.append({"image": part["image_url"]["url"]})
        elif part["type"] != "text":
            kept.append(part)
        elif words := _words([part["text"]]):
            kept.append({"text": words})
    return _together(kept)


def _together(parts: list[JSON]) -> list[JSON]:
    """Texts that follow one another as one."""
    joined: list[JSON] = []
    for part in parts:
        if "text" in part and joined and "text" in joined[-1]:
            joined[-1] = {"text": _words([joined[-1]["text"], part["text"]])}
        else:
            joined.append(part)
    return joined


def _words(texts: list[str]) -> str:
    return " ".join(" ".join(texts).split())


def _result(parts: list[JSON]) -> Any:
    """A result that is the text of an object is that object. Of any other text blanks do not count: some join parts."""
    if [set(part) for part in parts] != [{"text"}]:
        return parts
    try:
        read = json.loads(parts[0]["text"])
    except ValueError:
        read = None
    return read if isinstance(read, dict) else "".join(parts[0]["text"].split())


def _joined(turns: list[tuple[str, list[JSON]]]) -> list[JSON]:
    joined: list[JSON] = []
    for role, parts in turns:
        if joined and joined[-1]["role"] == role:
            joined[-1]["parts"] = _together([*joined[-1]["parts"], *parts])
        elif parts:
            joined.append({"role": role, "parts": parts})
    for turn in joined:
        if turn["role"] == "result":
            turn["parts"].sort(key=lambda part: part["of"])
    return joined


def _tools_meant(body: JSON) -> JSON:
    """Which tools may be called, and whether one must be."""
    choice, given = body.get("tool_choice") or "auto", body.get("tools") or []
    names = [tool["function"]["name"] for tool in given]
    if isinstance(choice, dict) and choice["type"] == "function":
        names, choice = [choice["function"]["name"]], "required"
    elif isinstance(choice, dict):
        names = [tool["function"]["name"] for tool in choice["allowed_tools"]["tools"]]
        choice = choice["allowed_tools"]["mode"]
    if choice == "none" or not given:
        return {}
    functions = [tool["function"] for tool in given if tool["function"]["name"] in names]
    meant = {"tools": [_function(function) for function in functions], "tool_choice": choice}
    return meant if body.get("parallel_tool_calls") is not False else meant | {"parallel_tool_calls": False}


def _function(function: JSON) -> JSON:
    described = {"description": function["description"]} if function.get("description") else {}
    return {"name": function["name"], "parameters": plain_schema(function.get("parameters")), **described}


def _format_meant(wanted: JSON | None) -> JSON:
    if wanted is None or wanted["type"] == "text":
        return {}
    if wanted["type"] == "json_schema" and wanted["json_schema"].get("schema"):
        return {"format": plain_schema(wanted["json_schema"]["schema"])}
    return {"format": "json"}


def plain_schema(schema: Any) -> Any:
    """A schema without what vendors demand, or what says nothing: closed objects, empty lists, the order of names."""
    if schema is None:
        return {"type": "object"}
    if isinstance(schema, list):
        return [plain_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = schema.get("additionalProperties") is False
    return {
        name: sorted(value) if name == "required" and isinstance(value, list) else plain_schema(value)
        for name, value in schema.items()
        if not (closed and name == "additionalProperties") and not (name in EMPTY and not value)
    }


EMPTY = ("properties", "required")
