"""Event streams in Amazon's binary frames, as the JSON objects that they carry.

Format: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html (prelude, headers, payload, sums),
https://smithy.io/2.0/aws/amazon-eventstream.html (what the headers say).
"""

import struct
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Any
from zlib import crc32

import orjson

from llamastack.sse import MAX_EVENT_BYTES, MalformedStream

FRAMES = "application/vnd.amazon.eventstream"
PRELUDE, SUM = 12, 4
MAX_HEADER_BYTES = 128 * 1024
# Types of a header's value, by their size in bytes: two booleans, four integers, a time, a UUID; and two with a length.
FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
BYTES, TEXT = 6, 7
# Exceptions that end a stream, as the status that the same exception has where there is no stream yet:
# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html#API_runtime_ConverseStream_Errors
STATUSES: Mapping[str, int] = {
    "accessDeniedException": 403,
    "modelErrorException": 424,
    "modelNotReadyException": 429,
    "modelStreamErrorException": 424,
    "modelTimeoutException": 408,
    "resourceNotFoundException": 404,
    "serviceQuotaExceededException": 429,
    "serviceUnavailableException": 503,
    "throttlingException": 429,
    "validationException": 400,
}
OTHER_STATUS = 500


class FrameFailure(Exception):
    """A frame that says why the stream ends here: a status, and what an error body of that status would say."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


async def events(pieces: AsyncIterator[bytes]) -> AsyncGenerator[dict[str, Any], None]:
    """The object of each frame under its event's name, of bytes cut anywhere: {"messageStop": {…}}.

    Raises MalformedStream, also where the bytes end within a frame, and FrameFailure.
    """
    buffer = bytearray()
    async for piece in pieces:
        buffer += piece
        for frame in whole_frames(buffer):
            yield event(frame)
    if buffer:
        raise MalformedStream("it ended within a frame")


def whole_frames(buffer: bytearray) -> Iterator[bytes]:
    """Takes the frames that are complete out of the buffer."""
    start = 0
    try:
        while len(buffer) - start >= PRELUDE:
            size = frame_size(buffer, start)
            if len(buffer) - start < size:
                break
            start += size
            yield bytes(buffer[start - size : start])
    finally:
        del buffer[:start]


def frame_size(buffer: bytearray, start: int) -> int:
    """What the prelude says, which is to be trusted only as far as its sum fits."""
    size, headers, told = struct.unpack_from(">III", buffer, start)
    if crc32(buffer[start : start + PRELUDE - SUM]) != told:
        raise MalformedStream("the sum of a frame's beginning is wrong")
    if size > MAX_EVENT_BYTES or headers > MAX_HEADER_BYTES or size < PRELUDE + headers + SUM:
        raise MalformedStream(f"a frame claims {size} bytes, {headers} of them headers")
    return int(size)


def event(frame: bytes) -> dict[str, Any]:
    size = len(frame)
    if crc32(frame[: size - SUM]) != int.from_bytes(frame[size - SUM :], "big"):
        raise MalformedStream("the sum of a frame is wrong")
    payload = PRELUDE + int.from_bytes(frame[4:8], "big")
    headers = headers_of(frame[PRELUDE:payload])
    body = frame[payload : size - SUM]
    match headers.get(":message-type"):
        case "event":
            return {headers.get(":event-type", ""): read(body)}
        case "exception":
            raise FrameFailure(STATUSES.get(headers.get(":exception-type", ""), OTHER_STATUS), body)
        case "error":
            said = {"message": headers.get(":error-message", ""), "code": headers.get(":error-code", "")}
            raise FrameFailure(OTHER_STATUS, orjson.dumps(said))
    raise MalformedStream("a frame does not say what it is")


def read(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedStream(f"a frame holds something that is not JSON ({error})") from error


def headers_of(data: bytes) -> dict[str, str]:
    """Those that are text; of the others, nothing is asked."""
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            name_end = at + 1 + data[at]
            name, kind = data[at + 1 : name_end].decode(), data[name_end]
            begin = name_end + 1 + (2 if kind in (BYTES, TEXT) else 0)
            at = begin + (int.from_bytes(data[begin - 2 : begin], "big") if kind in (BYTES, TEXT) else FIXED[kind])
            if kind == TEXT:
                found[name] = data[begin:at].decode()
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise MalformedStream("a frame's headers cannot be read") from error
    if at != len(data):
        raise MalformedStream("a frame's headers cannot be read")
    return found
