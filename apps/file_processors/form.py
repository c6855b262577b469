"""The form of a document that is to be processed: a file, or the id of one, and what is to be done with it."""

from typing import Any

import orjson
from pydantic import ValidationError

from apps.file_processors.schemas import ProcessFile
from apps.files.form import Form
from llamastack.bodies import invalid
from llamastack.errors import BadRequest

STATIC = "chunking_strategy[static]"
OBJECTS = ("options", "chunking_strategy")


class DocumentForm(Form):
    """Objects are JSON, or fields named with brackets, as `chunking_strategy[type]`."""

    names = (
        "file_id",
        *OBJECTS,
        "chunking_strategy[type]",
        f"{STATIC}[max_chunk_size_tokens]",
        f"{STATIC}[chunk_overlap_tokens]",
    )
    needs_file = False

    def asked(self) -> ProcessFile:
        """Raises BadRequest unless there is either a file or the id of one."""
        fields: dict[str, Any] = {}
        for name, value in self.texts.items():
            place = name.replace("]", "").split("[")
            _put(fields, place, _object(name, value) if name in OBJECTS else value)
        try:
            asked = ProcessFile.model_validate(
                {name: value for name, value in fields.items() if value not in (None, "")}
            )
        except ValidationError as error:
            raise invalid(error.errors(), fields) from error
        if (asked.file_id is None) == (self.filename is None):
            raise BadRequest("Send either 'file' or 'file_id', and not both.", param="file")
        return asked


def _object(name: str, value: str) -> Any:
    try:
        return orjson.loads(value) if value.strip() else None
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"'{name}' is not valid JSON: {error}.", param=name) from error


def _put(fields: dict[str, Any], place: list[str], value: Any) -> None:
    for name in place[:-1]:
        inner = fields.setdefault(name, {})
        if not isinstance(inner, dict):
            raise BadRequest(f"'{place[0]}' is given twice.", param=place[0])
        fields = inner
    fields[place[-1]] = value
