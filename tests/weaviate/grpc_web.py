"""Weaviate's gRPC API over gRPC-Web, its messages read and written by Google's own library.

https://docs.weaviate.io/weaviate/api/grpc · https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
"""

import struct
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy
from aiohttp import web
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet

from tests.weaviate.schema import Collection, Refused
from tests.weaviate.searching import Name, selected

PREFIX = "/v1/grpc-web/weaviate.v1.Weaviate"
KINDS = ("application/grpc-web", "application/grpc-web+proto")
OK, UNKNOWN, UNAUTHENTICATED = 0, 2, 16
SCALARS = {"string": 9, "bytes": 12, "bool": 8, "float": 2, "double": 1, "int64": 3, "uint32": 13, "int32": 5}
Fields = dict[str, tuple[int, str]]  # a name's number and type, of which there may be several: "several …"
MESSAGES: dict[str, Fields] = {
    "SearchRequest": {
        "collection": (1, "string"),
        "tenant": (10, "string"),
        "properties": (20, "PropertiesRequest"),
        "metadata": (21, "MetadataRequest"),
        "limit": (30, "uint32"),
        "sort_by": (34, "several SortBy"),
        "filters": (40, "Filters"),
        "bm25_search": (42, "BM25"),
        "near_vector": (43, "NearVector"),
        "uses_123_api": (100, "bool"),
        "uses_125_api": (101, "bool"),
        "uses_127_api": (102, "bool"),
    },
    "PropertiesRequest": {"non_ref_properties": (1, "several string")},
    "MetadataRequest": {
        "uuid": (1, "bool"),
        "vector": (2, "bool"),
        "distance": (5, "bool"),
        "score": (7, "bool"),
    },
    "SortBy": {"ascending": (1, "bool"), "path": (2, "several string")},
    "Filters": {
        "operator": (1, "int32"),
        "on": (2, "several string"),
        "filters": (3, "several Filters"),
        "value_text": (4, "string"),
        "value_text_array": (9, "TextArray"),
    },
    "TextArray": {"values": (1, "several string")},
    "BM25": {"query": (1, "string"), "properties": (2, "several string")},
    "NearVector": {"vector_bytes": (4, "bytes")},
    "SearchReply": {"took": (1, "float"), "results": (2, "several SearchResult")},
    "SearchResult": {"properties": (1, "PropertiesResult"), "metadata": (2, "MetadataResult")},
    "MetadataResult": {
        "id": (1, "string"),
        "distance": (7, "float"),
        "distance_present": (8, "bool"),
        "score": (11, "float"),
        "score_present": (12, "bool"),
        "vector_bytes": (19, "bytes"),
    },
    "PropertiesResult": {"target_collection": (3, "string"), "non_ref_props": (11, "Properties")},
    "Properties": {"fields": (1, "several Entry")},
    "Entry": {"key": (1, "string"), "value": (2, "Value")},
    "Value": {"int_value": (8, "int64"), "text_value": (13, "string")},
    "AggregateRequest": {
        "collection": (1, "string"),
        "tenant": (10, "string"),
        "objects_count": (20, "bool"),
        "aggregations": (21, "several AggregationAsked"),
    },
    "AggregationAsked": {"property": (1, "string"), "int": (2, "IntegerAsked")},
    "IntegerAsked": {"sum": (3, "bool")},
    "AggregateReply": {"took": (1, "float"), "single_result": (2, "Single")},
    "Single": {"objects_count": (1, "int64"), "aggregations": (2, "Aggregations")},
    "Aggregations": {"aggregations": (1, "several Aggregation")},
    "Aggregation": {"property": (1, "string"), "int": (2, "Integer")},
    "Integer": {"count": (1, "int64"), "type": (2, "string"), "sum": (8, "int64")},
}
COMPARING = ("Equal", "NotEqual", "GreaterThan", "GreaterThanEqual", "LessThan", "LessThanEqual")
OPERATORS = dict(enumerate((*COMPARING, "And", "Or"), 1)) | {12: "ContainsAny", 13: "ContainsAll"}


def _pool() -> DescriptorPool:
    """Fields are proto2's optional ones, so that an absent one is told from an empty one. The wire is the same."""
    file = FileDescriptorProto(name="weaviate.proto", package="weaviate", syntax="proto2")
    for name, fields in MESSAGES.items():
        message = DescriptorProto(name=name)
        for field, (number, type) in fields.items():
            kind = type.removeprefix("several ")
            label = 3 if type.startswith("several ") else 1
            added = FieldDescriptorProto(name=field, number=number, label=label, type=SCALARS.get(kind, 11))
            if kind not in SCALARS:
                added.type_name = f".weaviate.{kind}"
            message.field.append(added)
        file.message_type.append(message)
    pool = DescriptorPool()
    pool.Add(file)
    return pool


POOL = _pool()


def made(name: str, **fields: Any) -> Any:
    return GetMessageClass(POOL.FindMessageTypeByName(f"weaviate.{name}"))(**fields)


async def answered(
    request: web.Request, collections: Mapping[str, Collection], allowed: bool, most: int
) -> web.Response:
    """A reply of status 200, whatever has happened: gRPC tells of it in the trailers."""
    method = request.path.rpartition("/")[2]
    if request.content_type not in KINDS or method not in ("Search", "Aggregate"):
        return web.Response(status=415)
    if not allowed:
        return web.Response(
            content_type=KINDS[1], headers={"grpc-status": str(UNAUTHENTICATED), "grpc-message": "invalid%20api%20key"}
        )
    work = _searched if method == "Search" else _aggregated
    try:
        reply = work(collections, _read(f"{method}Request", await request.read()), most)
    except (Refused, DecodeError) as error:
        return web.Response(body=_trailers(UNKNOWN, str(error)), content_type=KINDS[1])
    data = reply.SerializeToString()
    return web.Response(body=struct.pack(">BI", 0, len(data)) + data + _trailers(OK, ""), content_type=KINDS[1])


def _trailers(status: int, message: str) -> bytes:
    lines = f"grpc-status:{status}\r\ngrpc-message:{quote(message)}\r\n".encode()
    return struct.pack(">BI", 0x80, len(lines)) + lines


def _read(name: str, body: bytes) -> Any:
    flags, length = struct.unpack_from(">BI", body)
    if flags or length != len(body) - 5:
        raise Refused("the request is no single frame")
    message = made(name)
    message.ParseFromString(body[5:])
    _known(message)
    return message


def _known(message: Message) -> None:
    """Raises Refused for a field that this server does not know: it would go unheeded."""
    if unknown := [field.field_number for field in UnknownFieldSet(message)]:
        raise Refused(f"unknown fields {unknown} of {message.DESCRIPTOR.name}")
    for _, value in message.ListFields():
        for each in value if not isinstance(value, str | bytes | Message) and hasattr(value, "__iter__") else [value]:
            if isinstance(each, Message):
                _known(each)


def _of(collections: Mapping[str, Collection], name: str) -> Collection:
    if name not in collections:
        raise Refused(f"could not find class {name} in schema")
    return collections[name]


def _searched(collections: Mapping[str, Collection], request: Any, most: int) -> Any:
    collection = _of(collections, request.collection)
    given: dict[str, Any] = {"tenant": request.tenant, "limit": request.limit or 10}
    if request.HasField("filters"):
        given["where"] = _where(request.filters)
    if request.HasField("bm25_search"):
        given["bm25"] = {"query": request.bm25_search.query, "properties": list(request.bm25_search.properties)}
    if request.HasField("near_vector"):
        given["nearVector"] = {"vector": numpy.frombuffer(request.near_vector.vector_bytes, "<f4").tolist()}
    if request.sort_by:
        given["sort"] = [
            {"path": list(by.path), "order": Name("asc" if by.ascending else "desc")} for by in request.sort_by
        ]
    if unknown := set(request.properties.non_ref_properties) - set(collection.properties):
        raise Refused(f"no such prop with names {unknown} found in class")
    results = []
    for object, told in selected(collection, given, most):
        metadata: dict[str, Any] = {"id": object.id} if request.metadata.uuid else {}
        if request.metadata.vector:
            metadata["vector_bytes"] = numpy.asarray(object.vector, "<f4").tobytes()
        for name in ("distance", "score"):
            if getattr(request.metadata, name) and name in told:
                metadata |= {name: float(told[name]), f"{name}_present": True}
        entries = [
            made("Entry", key=name, value=_value(object.properties[name]))
            for name in request.properties.non_ref_properties
            if name in object.properties
        ]
        properties = made("PropertiesResult", non_ref_props=made("Properties", fields=entries))
        results.append(made("SearchResult", properties=properties, metadata=made("MetadataResult", **metadata)))
    return made("SearchReply", took=0.01, results=results)


def _value(value: Any) -> Any:
    if not isinstance(value, str):
        raise Refused("this server reads texts alone")
    return made("Value", text_value=value)


def _where(filters: Any) -> dict[str, Any]:
    operator = OPERATORS.get(filters.operator)
    if operator in ("And", "Or"):
        return {"operator": operator, "operands": [_where(each) for each in filters.filters]}
    array = filters.HasField("value_text_array")
    if not array and not filters.HasField("value_text"):
        raise Refused("unknown value type")
    value = list(filters.value_text_array.values) if array else filters.value_text
    return {"operator": operator, "path": list(filters.on), "valueText": value}


def _aggregated(collections: Mapping[str, Collection], request: Any, most: int) -> Any:
    collection = _of(collections, request.collection)
    objects = collection.tenant(request.tenant).values()
    sums = []
    for asked in request.aggregations:
        property = collection.properties.get(asked.property)
        if property is None or property.type != "int" or not asked.int.sum:
            raise Refused(f"no such aggregation of {asked.property}")
        total = sum(object.properties[asked.property] for object in objects)
        sums.append(made("Aggregation", property=asked.property, int=made("Integer", type="int", sum=total)))
    counted = {"objects_count": len(objects)} if request.objects_count else {}
    single = made("Single", aggregations=made("Aggregations", aggregations=sums), **counted)
    return made("AggregateReply", took=0.01, single_result=single)
