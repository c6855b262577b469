"""botocore's own model of Amazon Bedrock, which says whether a body is one that Converse takes."""

import base64
import json
from functools import cache
from typing import Any

from botocore.model import OperationModel, Shape
from botocore.serialize import create_serializer
from botocore.session import Session
from botocore.validate import ParamValidator


@cache
def operation(name: str, service: str = "bedrock-runtime") -> OperationModel:
    return Session().get_service_model(service).operation_model(name)


def check(
    body: dict[str, Any], name: str = "Converse", model: str = "anthropic.claude-sonnet-4-5-20250929-v1:0"
) -> None:
    """Asserts that AWS's own client would take these parameters and send this body."""
    shape = operation(name)
    params = {"modelId": model, **_with_bytes(body, shape.input_shape)}
    report = ParamValidator().validate(params, shape.input_shape)
    assert not report.has_errors(), report.generate_report()
    sent = create_serializer("rest-json").serialize_to_request(params, shape)
    assert json.loads(sent["body"]) == json.loads(json.dumps(body))
    _check_unions(body, shape.input_shape)


def _with_bytes(value: Any, shape: Shape) -> Any:
    """What is base64 on the wire, as the client takes it."""
    match shape.type_name:
        case "structure" if not shape.is_document_type:
            return {
                name: _with_bytes(one, shape.members[name]) if name in shape.members else one
                for name, one in value.items()
            }
        case "list":
            return [_with_bytes(one, shape.member) for one in value]
        case "blob":
            return base64.b64decode(value, validate=True)
    return value


def _check_unions(value: Any, shape: Shape) -> None:
    """Of a union the wire has one member, and of a text the length that it must have."""
    if shape.type_name == "structure" and not shape.is_document_type:
        assert not shape.metadata.get("union") or len(value) == 1, (shape.name, value)
        for name, one in value.items():
            _check_unions(one, shape.members[name])
    elif shape.type_name == "list":
        for one in value:
            _check_unions(one, shape.member)
    elif shape.type_name == "string" and shape.enum:
        assert value in shape.enum, (shape.name, value)
