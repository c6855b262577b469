"""Searches by gRPC-Web, which Weaviate answers at its REST address from 1.38.3 on, also where GraphQL is off.

The messages are those of https://github.com/weaviate/weaviate/tree/main/grpc/proto/v1, the framing is that of
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md: over HTTP/1.1, with the trailers as the body's last frame.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from apps.vector_io.providers.remote.weaviate import protobuf
from apps.vector_io.providers.remote.weaviate.answers import Failed, Off, failed, nonsense
from apps.vector_io.providers.remote.weaviate.protobuf import Message, Read
from llamastack.egress import Egress
from llamastack.errors import NotSupported, Unavailable, UpstreamRejected

KIND = {"Content-Type": "application/grpc-web+proto", "Accept": "application/grpc-web+proto", "X-Grpc-Web": "1"}
TRAILERS, PACKED = 0x80, 0x01  # flags of a frame
STATUSES = {7: 403, 16: 401}  # gRPC's PERMISSION_DENIED and UNAUTHENTICATED
UNIMPLEMENTED, UNAVAILABLE = 12, 14
OPERATORS = {
    "Equal": 1,
    "NotEqual": 2,
    "GreaterThan": 3,
    "GreaterThanEqual": 4,
    "LessThan": 5,
    "LessThanEqual": 6,
    "And": 7,
    "Or": 8,
    "ContainsAny": 12,
}
ADDITIONAL = {"id": 1, "vector": 2, "distance": 5, "score": 7}  # of MetadataRequest
FLOATS = {"distance": 7, "score": 11}  # of MetadataResult
FORMS = {100: True, 101: True, 102: True}  # of the reply: as from 1.27 on


@dataclass(frozen=True, slots=True)
class GRPCWeb:
    egress: Egress
    headers: Mapping[str, str]

    async def get(
        self,
        collection: str,
        tenant: str,
        arguments: Mapping[str, Any],
        properties: Sequence[str],
        additional: Sequence[str],
    ) -> list[dict[str, Any]]:
        request: dict[int, Any] = {
            1: collection,
            10: tenant,
            20: {1: list(properties)},
            21: {ADDITIONAL[name]: True for name in additional},
            30: arguments["limit"],
            34: [{1: key["order"] == "asc", 2: key["path"]} for key in arguments.get("sort", [])],
            **FORMS,
        }
        if "where" in arguments:
            request[40] = _filters(arguments["where"])
        if "bm25" in arguments:
            request[42] = {1: arguments["bm25"]["query"], 2: arguments["bm25"]["properties"]}
        if "nearVector" in arguments:
            vector = arguments["nearVector"]["vector"]
            request[43] = {4: struct.pack(f"<{len(vector)}f", *vector)}
        reply = await self._called("Search", request)
        try:
            return [_result(protobuf.decoded(each), additional) for each in reply.get(2, []) if isinstance(each, bytes)]
        except ValueError as error:
            raise nonsense(self.egress) from error

    async def size(self, collection: str, tenant: str, property: str) -> tuple[int, int]:
        sum_of = {1: property, 2: {3: True}}
        reply = await self._called("Aggregate", {1: collection, 10: tenant, 20: True, 21: [sum_of]})
        try:
            single = protobuf.message(reply, 2)
            aggregated = protobuf.message(protobuf.message(single, 2), 1)
            return protobuf.number(single, 1), protobuf.number(protobuf.message(aggregated, 2), 8)
        except ValueError as error:
            raise nonsense(self.egress) from error

    async def check(self, collection: str) -> None:
        """Whether it is answered at all: that no tenant is named is an error of another kind."""
        try:
            await self._called("Search", {1: collection, 30: 1, **FORMS})
        except Failed:
            return

    async def _called(self, method: str, request: Message) -> Read:
        message = protobuf.encoded(request)
        body = struct.pack(">BI", 0, len(message)) + message
        try:
            path = f"v1/grpc-web/weaviate.v1.Weaviate/{method}"
            reply, data = await self.egress.whole("POST", path, body, {**self.headers, **KIND})
        except (NotSupported, UpstreamRejected) as error:
            if isinstance(error, UpstreamRejected) and error.status not in (404, 415):
                raise
            raise Off(error.message) from error
        try:
            answered, trailers = _unframed(data)
            self._check({**reply.headers, **trailers})
            return protobuf.decoded(answered)
        except ValueError as error:
            raise nonsense(self.egress) from error

    def _check(self, trailers: Mapping[str, str]) -> None:
        """Raises what a call's status means. One that has none was cut."""
        status = int(trailers.get("grpc-status", ""))
        if status == 0:
            return
        message = unquote(trailers.get("grpc-message", ""))
        if status == UNIMPLEMENTED:
            raise Off(f"{self.egress.upstream} answered: {message[:500]}")
        if status == UNAVAILABLE:
            raise Unavailable(f"{self.egress.upstream} answered: {message[:500]}", retry_after=1)
        if status in STATUSES:
            raise UpstreamRejected(
                f"{self.egress.upstream} answered {STATUSES[status]}: {message[:500]}", STATUSES[status]
            )
        raise failed(self.egress, message)


def _filters(where: Mapping[str, Any]) -> Message:
    operator = {1: OPERATORS[where["operator"]]}
    if "operands" in where:
        return {**operator, 3: [_filters(each) for each in where["operands"]]}
    value = where["valueText"]
    return {**operator, 2: where["path"], **({9: {1: value}} if isinstance(value, list) else {4: value})}


def _unframed(data: bytes) -> tuple[bytes, dict[str, str]]:
    """The message, and the trailers by their names. Raises ValueError."""
    answered, trailers = b"", {}
    for flags, frame in _frames(data):
        if flags & PACKED:
            raise ValueError("a frame is packed, which was not asked for")
        if flags & TRAILERS:
            lines = frame.decode("ascii").split("\r\n")
            trailers = {name.strip().lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
        else:
            answered += frame
    return answered, trailers


def _frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(data):
        if place + 5 > len(data):
            raise ValueError("a frame without its head")
        flags, length = struct.unpack_from(">BI", data, place)
        place += 5
        if place + length > len(data):
            raise ValueError("a frame that was cut")
        yield flags, data[place : place + length]
        place += length


def _result(found: Read, additional: Sequence[str]) -> dict[str, Any]:
    """A SearchResult, in the form that GraphQL gives it."""
    properties, metadata = protobuf.message(protobuf.message(found, 1), 11), protobuf.message(found, 2)
    told: dict[str, Any] = {"id": protobuf.data(metadata, 1).decode()}
    for name in additional:
        if name in FLOATS:
            bits = protobuf.data(metadata, FLOATS[name]) or bytes(4)  # of a zero, nothing is written
            [told[name]] = struct.unpack("<f", bits)
        elif name == "vector":
            numbers = protobuf.data(metadata, 19)
            told[name] = list(struct.unpack(f"<{len(numbers) // 4}f", numbers))
    return {**dict(map(_property, properties.get(1, []))), "_additional": told}


def _property(entry: int | bytes) -> tuple[str, str]:
    """An entry of a map from names to values, here texts."""
    if not isinstance(entry, bytes):
        raise protobuf.Broken
    found = protobuf.decoded(entry)
    value = protobuf.message(found, 2)
    return protobuf.data(found, 1).decode(), (protobuf.data(value, 13) or protobuf.data(value, 2)).decode()
