"""Images, audio and files as Google's parts: the data itself, or the address of a file that Google can read.

Format: https://ai.google.dev/api/caching#Blob and #FileData; which kinds of files, and that an address goes with its
kind: https://ai.google.dev/gemini-api/docs/file-input-methods.
"""

from typing import Any
from urllib.parse import urlsplit

from apps.inference.schemas.chat import ImagePart, OtherPart
from llamastack.errors import BadRequest

JSON = dict[str, Any]
KINDS = {
    **{name: f"image/{name}" for name in ("png", "jpeg", "webp", "heic", "heif", "gif")},
    **{name: f"audio/{name}" for name in ("wav", "mp3", "aiff", "aac", "ogg", "flac", "m4a")},
    **{name: f"video/{name}" for name in ("mp4", "mpeg", "avi", "webm", "wmv", "3gpp")},
    **{name: f"text/{name}" for name in ("html", "css", "csv", "xml", "rtf")},
    "jpg": "image/jpeg",
    "mpg": "video/mpeg",
    "mov": "video/quicktime",
    "flv": "video/x-flv",
    "3gp": "video/3gpp",
    "txt": "text/plain",
    "md": "text/markdown",
    "json": "application/json",
    "pdf": "application/pdf",
}
# Files that were uploaded to the Gemini API, and videos on YouTube: Google knows their kind.
KNOWN_TO_GOOGLE = ("https://generativelanguage.googleapis.com/", "https://www.youtube.com/", "https://youtu.be/")
# What the parts of other kinds have. A file's name tells its kind, and no more: Google's parts have none.
FIELDS = {"input_audio": {"data", "format"}, "file": {"file_data", "file_id", "filename", "format"}}
ADDRESSES = ("https://", "http://", "gs://")


def image(part: ImagePart, where: str) -> JSON:
    extra = part.image_url.model_extra or {}
    return from_url(part.image_url.url, f"{where}.image_url.url", kind=extra.get("format"))


def from_url(url: str, where: str, kind: Any = None) -> JSON:
    """The part of a data: URL or of an address, whose `kind` its ending tells where it is not given."""
    if url.startswith("data:"):
        return inline(url, where)
    if not url.startswith(ADDRESSES):
        raise BadRequest(
            "Google takes a file as data: URL with base64, or as an address with https:// or gs://.", param=where
        )
    kind = kind or kind_of(urlsplit(url).path)
    if kind is None and not url.startswith(KNOWN_TO_GOOGLE):
        raise BadRequest(
            "Google takes a file's address only together with its kind, which the ending of this one does not tell: "
            "send the file itself as data: URL.",
            param=where,
        )
    return {"fileData": {"fileUri": url} | ({"mimeType": kind} if kind else {})}


def inline(url: str, where: str) -> JSON:
    head, _, data = url.removeprefix("data:").partition(",")
    kind, *options = head.split(";")
    if not kind or options[-1:] != ["base64"] or not data:
        raise BadRequest("This data: URL is none of the form data:image/png;base64,…", param=where)
    return {"inlineData": {"mimeType": kind, "data": data}}


def other(part: OtherPart, where: str) -> JSON:
    """Audio or a file. What Google has no part for is told by name."""
    content = (part.model_extra or {}).get(part.type)
    if not isinstance(content, dict):
        raise BadRequest(f"This part lacks the object '{part.type}'.", param=f"{where}.{part.type}")
    if part.type == "input_audio":
        data, kind = content.get("data"), content.get("format")
        if not isinstance(data, str) or not isinstance(kind, str):
            raise BadRequest("Audio is given as 'data', in base64, and its 'format'.", param=f"{where}.input_audio")
        return {"inlineData": {"mimeType": KINDS.get(kind, f"audio/{kind}"), "data": data}}
    return _file(content, f"{where}.file")


def _file(content: JSON, where: str) -> JSON:
    data, address, name = (content.get(field) for field in ("file_data", "file_id", "filename"))
    if isinstance(data, str) and data.startswith("data:"):
        return inline(data, f"{where}.file_data")
    kind = content.get("format") or (kind_of(name) if isinstance(name, str) else None)
    if isinstance(data, str):
        if kind is None:
            raise BadRequest("Give 'file_data' as data: URL, which tells its kind.", param=f"{where}.file_data")
        return {"inlineData": {"mimeType": kind, "data": data}}
    if isinstance(address, str) and address.startswith(ADDRESSES):
        return from_url(address, f"{where}.file_id", kind)
    raise BadRequest(
        "Google takes a file as 'file_data', or as a 'file_id' that is the address of one at Google.",
        param=f"{where}.file_id",
    )


def kind_of(path: str) -> str | None:
    return KINDS.get(path.rpartition(".")[2].lower())
