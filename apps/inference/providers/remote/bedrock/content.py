"""Content parts of OpenAI's as content blocks of Converse's.

Format: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html. Bytes are base64 in JSON,
as they are in a data URL, and go on unread.
"""

import re
from collections.abc import Iterable
from typing import Any

from apps.inference.providers.unsupported import JSON, Lacks
from apps.inference.schemas import ImagePart, TextPart
from llamastack.errors import BadRequest

IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
OFFICE = "application/vnd.openxmlformats-officedocument."
DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    f"{OFFICE}wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    f"{OFFICE}spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
SOUNDS = frozenset({"mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "m4a", "mpeg", "pcm", "webm"})
MARK = "cache_control"
LONGEST_NAME = 200


class Content:
    """The parts of one request's messages. Documents have names, each of them once in a request."""

    def __init__(self, lacks: Lacks) -> None:
        self.lacks = lacks
        self.names: set[str] = set()

    def blocks(self, content: str | Iterable[Any] | None, where: str) -> list[JSON]:
        """Converse refuses texts of white space alone, and they say nothing: they are left out."""
        if content is None:
            return []
        if isinstance(content, str):
            return text(content)
        made: list[JSON] = []
        for place, part in enumerate(content):
            at = f"{where}.content[{place}]"
            made += self._block(part, at)
            made += cache_point((part.model_extra or {}).get(MARK), f"{at}.{MARK}")
        return made

    def _block(self, part: Any, where: str) -> list[JSON]:
        extra = part.model_extra or {}
        if isinstance(part, TextPart):
            self.lacks.taken(extra, (MARK,), f"{where}.")
            return text(part.text)
        if isinstance(part, ImagePart):
            self.lacks.taken(extra, (MARK,), f"{where}.")
            return [self._image(part, f"{where}.image_url")]
        self.lacks.taken(extra, (MARK, part.type), f"{where}.")
        if part.type == "refusal":
            return text(str(extra.get("refusal") or ""))
        inner = extra.get(part.type)
        if not isinstance(inner, dict):
            raise BadRequest(f"'{where}.{part.type}' is missing, or no object.", param=f"{where}.{part.type}")
        return (
            self._file(inner, f"{where}.file") if part.type == "file" else [self._sound(inner, f"{where}.input_audio")]
        )

    def _image(self, part: ImagePart, where: str) -> JSON:
        self.lacks.taken(part.image_url.model_extra, (), f"{where}.")
        media_type, data = data_url(part.image_url.url, f"{where}.url")
        return {"image": {"format": _format(IMAGES, media_type, f"{where}.url"), "source": {"bytes": data}}}

    def _sound(self, sound: JSON, where: str) -> JSON:
        self.lacks.taken(sound, ("data", "format"), f"{where}.")
        data, form = sound.get("data"), sound.get("format")
        if not isinstance(data, str) or not data:
            raise BadRequest(f"'{where}.data' is to be the sound as base64.", param=f"{where}.data")
        if form not in SOUNDS:
            raise BadRequest(f"'{where}.format' is to be one of {', '.join(sorted(SOUNDS))}.", param=f"{where}.format")
        return {"audio": {"format": form, "source": {"bytes": data}}}

    def _file(self, file: JSON, where: str) -> list[JSON]:
        self.lacks.taken(file, ("file_data", "filename", "file_id"), f"{where}.")
        if not isinstance(file.get("file_data"), str):
            self.lacks.note(f"{where}.file_id", "Send the file itself, as 'file_data'.")
            return []
        media_type, data = data_url(file["file_data"], f"{where}.file_data")
        form = _format(DOCUMENTS, media_type, f"{where}.file_data")
        return [{"document": {"format": form, "name": self._name(file.get("filename")), "source": {"bytes": data}}}]

    def _name(self, filename: Any) -> str:
        """As Converse wants it: letters, digits, single blanks, hyphens and brackets; no name twice."""
        stem = filename.rpartition(".")[0] or filename if isinstance(filename, str) else ""
        own = " ".join(re.sub(r"[^A-Za-z0-9()\[\]-]+", " ", stem).split())[: LONGEST_NAME - 5].strip() or "document"
        number = 1
        while (name := own if number == 1 else f"{own} {number}") in self.names:
            number += 1
        self.names.add(name)
        return name


def text(words: str) -> list[JSON]:
    return [{"text": words}] if words and not words.isspace() else []


def cache_point(mark: Any, where: str) -> list[JSON]:
    """Anthropic's mark on a block, as the block of its own that Converse has after it."""
    if mark is None:
        return []
    if not isinstance(mark, dict) or mark.get("ttl") not in (None, "5m", "1h"):
        raise BadRequest(
            f"'{where}' is to be {{'type': 'ephemeral'}}, with a 'ttl' of '5m' or '1h' or none.", param=where
        )
    ttl = {"ttl": mark["ttl"]} if mark.get("ttl") else {}
    return [{"cachePoint": {"type": "default", **ttl}}]


def data_url(url: str, where: str) -> tuple[str, str]:
    """The media type and the base64 of a data URL (RFC 2397)."""
    head, comma, data = url.partition(",")
    words = head.lower().split(";")
    if not comma or not words[0].startswith("data:") or words[-1] != "base64" or not data:
        raise BadRequest(
            f"'{where}' is to hold the thing itself (data:image/png;base64,…): Amazon Bedrock fetches no addresses.",
            param=where,
        )
    return words[0].removeprefix("data:"), data


def _format(known: dict[str, str], media_type: str, where: str) -> str:
    found = known.get(media_type)
    if found is None:
        raise BadRequest(
            f"'{where}' is of a type that Converse does not take: send one of {', '.join(known)}.", param=where
        )
    return found
