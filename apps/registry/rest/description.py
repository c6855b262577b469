"""The OpenAPI description of /manage/: what drf-spectacular cannot read off the views."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.renderers import OpenApiJsonRenderer
from pydantic import BaseModel

ERROR = {
    "type": "object",
    "required": ["error", "detail"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": "string", "nullable": True},
                "code": {"type": "string", "nullable": True},
            },
        },
        "detail": {"type": "string"},
    },
}
ANSWER = {
    "description": "What went wrong, and what to do about it.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


def as_openapi(model: type[BaseModel]) -> dict[str, Any]:
    """A pydantic model in the words of OpenAPI 3.0, which has no type null: what is null is not in an answer."""
    schema = model.model_json_schema()
    fields = {name: found.pop("anyOf", [{}])[0] | found for name, found in schema["properties"].items()}
    shown = {name: {key: field[key] for key in field if key != "title"} for name, field in fields.items()}
    for field in shown.values():
        if field.get("default", 0) is None:
            del field["default"]
    return {"type": "object", "description": schema["description"], "properties": shown, "additionalProperties": False}


class DescriptionJSON(OpenApiJsonRenderer):
    media_type = "application/json"


class Description(AutoSchema):
    """An operation's summary is the first sentence of its docstring."""

    def get_summary(self) -> str:
        return str(super().get_description()).partition(". ")[0].rstrip(".")

    def get_description(self) -> str:  # type: ignore[override]  # as drf-spectacular has it
        return str(super().get_description()).partition(". ")[2]


class OperatorsScheme(OpenApiAuthenticationExtension):
    target_class = "apps.registry.rest.access.Operators"
    name = ["bearer", "session"]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, Any]]:
        from django.conf import settings

        bearer = {"type": "http", "scheme": "bearer", "description": "An admin's API key."}
        session = {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}
        return [bearer, session]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        """Either of them will do."""
        return [{"bearer": []}, {"session": []}]


def with_errors(result: dict[str, Any], **context: Any) -> dict[str, Any]:
    """drf-spectacular's postprocessing hook: every operation may answer with our one error."""
    result["components"]["schemas"]["Error"] = ERROR
    for operations in result["paths"].values():
        for operation in operations.values():
            operation["responses"]["default"] = ANSWER
    return result
