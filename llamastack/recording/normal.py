"""What differs between runs that are the same, made equal: requests, to find them again; replies, to compare files."""

import hashlib
import re
from typing import Any

DIGITS = 10
RECORDED = "recorded"
LONG_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{1024,}={0,2}")
DATA_URL = re.compile(r"(data:[^,]{0,200},)(.+)", re.DOTALL)
# The end of an id that is letters and digits, and not letters alone.
DRAWN = re.compile(r"([A-Za-z]*[_-]|)((?=[A-Za-z]*\d)[A-Za-z0-9]{8,64})")
CALL_IDS = frozenset({"tool_call_id", "call_id"})
CREATED = frozenset({"created", "created_at", "modified_at"})
# Groq, Cerebras, llama.cpp and Ollama, in this order.
DURATIONS = frozenset(
    {
        *("queue_time", "prompt_time", "completion_time", "total_time", "time_info", "timings"),
        *("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"),
    }
)
# An answer has one of these beside its id, which then names nothing that is asked for later; a file or a job has none.
ANSWERS = frozenset({"choices", "data", "results"})


def request_body(body: Any) -> Any:
    """A request's JSON as it is compared: floats rounded, files as their hash, the ids of tool calls numbered."""
    return _compared(body, {})


def _compared(value: Any, calls: dict[str, str]) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() else round(value, DIGITS)
    if isinstance(value, str):
        return calls.get(value) or _short(value)
    if isinstance(value, list):
        return [_compared(item, calls) for item in value]
    if isinstance(value, dict):
        for called in _call_ids(value):
            calls.setdefault(called, f"call {len(calls) + 1}")
        return {name: _compared(inner, calls) for name, inner in value.items()}
    return value


def _call_ids(value: dict[str, Any]) -> list[str]:
    """Those that a message makes or refers to: the upstream drew them, or a test did."""
    made = value.get("tool_calls")
    ids = [call.get("id") for call in made if isinstance(call, dict)] if isinstance(made, list) else []
    return [given for given in (*ids, *(value.get(name) for name in CALL_IDS)) if isinstance(given, str) and given]


def _short(text: str) -> str:
    if len(text) < 1024:
        return text
    if found := DATA_URL.fullmatch(text):
        return found[1] + _hashed(found[2])
    return _hashed(text) if LONG_BASE64.fullmatch(text) else text


def _hashed(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}, {len(text)} characters"


class Equal:
    """Makes one reply what it would be the next time, event by event. `mark` tells it from other replies."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self._calls: dict[str, str] = {}

    def body(self, body: Any) -> Any:
        """A reply's JSON, or an event's: ids of answers become `mark`, times the epoch, durations 0."""
        kept = self._kept(body)
        if isinstance(kept, dict) and isinstance(kept.get("id"), str) and kept.keys() & ANSWERS:
            kept["id"] = self.mark
        return kept

    def _kept(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._kept(item) for item in value]
        if isinstance(value, dict):
            return {name: self._named(name, inner) for name, inner in value.items()}
        return value

    def _named(self, name: str, value: Any) -> Any:
        if name in CREATED and isinstance(value, int | float | str) and not isinstance(value, bool):
            return "1970-01-01T00:00:00Z" if isinstance(value, str) else 0
        if name in DURATIONS:
            return _zero(value)
        if name in ("system_fingerprint", "request_id") and isinstance(value, str):
            return RECORDED
        if name == "id" and isinstance(value, str) and value.startswith("req_"):
            return RECORDED
        if name == "tool_calls" and isinstance(value, list):
            return [self._call(item) for item in value]
        return self._kept(value)

    def _call(self, call: Any) -> Any:
        kept = self._kept(call)
        if isinstance(kept, dict) and isinstance(kept.get("id"), str):
            kept["id"] = self._call_id(kept["id"])
        return kept

    def _call_id(self, given: str) -> str:
        """Of the form it had: Mistral takes nine letters and digits back, Kimi the function's name."""
        drawn = DRAWN.fullmatch(given)
        if drawn is None:
            return given
        if given not in self._calls:
            digest = hashlib.sha256(f"{self.mark} {len(self._calls)}".encode()).hexdigest()
            self._calls[given] = drawn[1] + digest[: len(drawn[2])]
        return self._calls[given]


def _zero(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _zero(inner) for name, inner in value.items()}
    return 0 if isinstance(value, int | float) and not isinstance(value, bool) else value
