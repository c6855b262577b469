"""A reply as it is kept: its body, or the events of its stream."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llamastack.recording.asked import content, data_of
from llamastack.recording.normal import Equal
from llamastack.recording.secrets import Secrets, texts

HEADERS = ("content-type", "location", "retry-after")
EVENT_STREAM = "text/event-stream"
MASKED = (
    "a secret stands in the reply in a way that cannot be masked: in bytes that are no text, or in pieces of a stream"
)
Event = dict[str, Any]


class Unmaskable(Exception):
    """A reply that would show a secret."""


@dataclass(frozen=True)
class Answer:
    """What an upstream answered, of any status: all of its bytes, as they came."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    def kept(self, mark: str, secrets: Secrets) -> dict[str, Any]:
        """As it stands in the file; `mark` takes the place of an answer's id. Raises Unmaskable."""
        headers = {name: secrets.text(self.headers[name]) for name in HEADERS if name in self.headers}
        return {"status": self.status, "headers": headers, **self._body(mark, secrets)}

    def _body(self, mark: str, secrets: Secrets) -> dict[str, Any]:
        body = content(self.data)
        if "base64" in body:
            if secrets.within(self.data.decode("latin-1")):
                raise Unmaskable(MASKED)
            return {"body": body}
        if self.headers.get("content-type", "").startswith(EVENT_STREAM) and (events := list(events_of(self.data))):
            return {"events": _masked(events, mark, secrets)}
        if "json" in body:
            return {"body": {"json": Equal(mark).body(secrets.masked(body["json"]))}}
        return {"body": {"text": secrets.text(body["text"])}}


def _masked(events: list[Event], mark: str, secrets: Secrets) -> list[Event]:
    masked = [secrets.masked(event) for event in events]
    said: defaultdict[str, str] = defaultdict(str)
    for event in masked:
        for place, text in texts(event):
            said[place] += text
    if any(secrets.within(text) for text in said.values()):
        raise Unmaskable(MASKED)
    equal = Equal(mark)
    return [event | {"data": equal.body(event["data"])} if "data" in event else event for event in masked]


def events_of(data: bytes) -> Iterator[Event]:
    """The events of a stream (WHATWG HTML, 9.2): {"event"?: its name, "data": JSON}, or "text" for what is none."""
    lines = re.sub(r"\r\n?", "\n", data.decode())
    for block in lines.split("\n\n"):
        fields = [line.partition(":") for line in block.split("\n")]
        said = [value.removeprefix(" ") for name, colon, value in fields if name == "data" and colon]
        if not said:
            continue
        names = [value.removeprefix(" ") for name, _, value in fields if name == "event"]
        read = content("\n".join(said).encode())
        event: Event = {"event": names[-1]} if names else {}
        yield event | ({"data": read["json"]} if "json" in read else read)


def pieces_of(reply: dict[str, Any]) -> Iterator[bytes]:
    """The bytes to replay: the whole body, or event by event."""
    if "events" not in reply:
        yield data_of(reply["body"])
        return
    for event in reply["events"]:
        name = f"event: {event['event']}\n" if "event" in event else ""
        said = json.dumps(event["data"], ensure_ascii=False) if "data" in event else event["text"]
        lines = "".join(f"data: {line}\n" for line in said.split("\n"))
        yield f"{name}{lines}\n".encode()
