"""An upload's multipart form, read as it comes: one file, and short fields before or after it."""

from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from apps.files.protocol import NewFile
from apps.files.schemas import FormUpload
from llamastack import settings
from llamastack.bodies import SHOWN, invalid, refuse_unknown
from llamastack.errors import BadRequest
from llamastack.guards import FORM_BYTES, file_too_large
from llamastack.uploads import KEY, Upload

FILE = "file"
MOST_NAME = 255


class Form:
    """`content` is the file's bytes; `described` what the form says of it, once that has been read.

    `names` are the fields that there may be beside the file.
    """

    names: tuple[str, ...] = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
    needs_file = True

    def __init__(self, content_type: str, pieces: AsyncIterator[bytes]) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise BadRequest("The form's Content-Type names no boundary.")
        self.pieces = pieces
        self.filename: str | None = None
        self._fields: dict[str, bytes] = {}
        self._header = [b"", b""]
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._held: list[bytes] = []
        self._bytes = self._field_bytes = 0
        self._ended = False
        self._parser = self._made(boundary)

    async def content(self) -> AsyncIterator[bytes]:
        """Raises BadRequest where the form is wrong, TooLarge where the file is."""
        async for piece in self.pieces:
            try:
                self._parser.write(piece)
            except FormParserError as error:
                raise BadRequest(f"The form cannot be read: {error}") from error
            held, self._held = self._held, []
            for data in held:
                yield data
        if not self._ended:
            raise BadRequest("The form breaks off before its last boundary.")
        if self.filename is None and self.needs_file:
            raise BadRequest("The form has no 'file'.", param=FILE, code="missing_required_parameter")

    @property
    def texts(self) -> dict[str, str]:
        """The fields that have been read, as they were sent."""
        return {name: value.decode(errors="replace") for name, value in self._fields.items()}

    def described(self) -> FormUpload:
        fields: dict[str, Any] = {"filename": self.filename}
        for name, text in self.texts.items():
            outer, _, inner = name.removesuffix("]").partition("[")
            if inner:
                fields.setdefault(outer, {})[inner] = text
            else:
                fields[outer] = text
        try:
            return FormUpload.model_validate(fields)
        except ValidationError as error:
            raise invalid(error.errors(), fields) from error

    # --- what the parser calls ---

    def _made(self, boundary: bytes) -> MultipartParser:
        callbacks: dict[str, Callable[..., None]] = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._add_header(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._add_header(1, data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": lambda data, start, end: self._add(data[start:end]),
            "on_end": self._end,
        }
        try:
            return MultipartParser(boundary, callbacks)  # type: ignore[arg-type]  # a TypedDict of these names
        except FormParserError as error:
            raise BadRequest(f"The form cannot be read: {error}") from error

    def _begin(self) -> None:
        self._headers = {}

    def _add_header(self, place: int, data: bytes) -> None:
        self._header[place] += data

    def _end_header(self) -> None:
        name, value = self._header
        self._headers[name.lower()] = value
        self._header = [b"", b""]

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode(errors="replace")
        if self._name == FILE:
            self._begin_file(options.get(b"filename"))
            return
        refuse_unknown([self._name], [FILE, *self.names])
        if self._name in self._fields:
            raise BadRequest(f"'{self._name}' is given twice.", param=self._name)
        self._fields[self._name] = b""

    def _begin_file(self, filename: bytes | None) -> None:
        if self.filename is not None:
            raise BadRequest("Upload one file at a time: the form has two.", param=FILE)
        if filename is None:
            raise BadRequest("'file' has no filename: send it as a file, not as text.", param=FILE)
        self.filename = plain(filename)
        if "purpose" in self._fields:
            self.described()  # what is wrong is told before the file is read

    def _add(self, data: bytes) -> None:
        if self._name == FILE:
            self._bytes += len(data)
            if self._bytes > settings.MAX_FILE_BYTES:
                raise file_too_large()
            self._held.append(data)
            return
        self._field_bytes += len(data)
        if self._field_bytes > FORM_BYTES:
            raise BadRequest(f"'{self._name}' is too long.", param=self._name)
        self._fields[self._name] += data

    def _end(self) -> None:
        self._ended = True


def sent_in(request: HttpRequest) -> NewFile:
    """The file of an upload, to be read as it comes."""
    upload: Upload = cast(ASGIRequest, request).scope[KEY]
    form = Form(request.headers.get("Content-Type", ""), upload.pieces())
    return NewFile(form.content(), form.described)


def plain(filename: bytes) -> str:
    """The name, which is for showing: nothing is ever stored under it."""
    name = filename.decode(errors="replace").replace("%22", '"')  # as browsers, httpx and curl write it
    if "/" in name or "\\" in name or name in (".", ".."):
        raise BadRequest(f"The file's name '{name[:SHOWN]}' holds a path. Send the name alone.", param=FILE)
    if not name or len(name) > MOST_NAME or not name.isprintable():
        raise BadRequest(
            f"The file's name must be 1 to {MOST_NAME} characters that can be printed, not {name[:SHOWN]!a}.",
            param=FILE,
        )
    return name
