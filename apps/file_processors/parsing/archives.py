"""Office documents are zip archives of XML. What unpacks to too much, nests too deep or has entities is refused."""

import io
import zipfile
from xml.parsers import expat

from apps.file_processors import kinds
from apps.file_processors.parsing.outcomes import Refused, Task

MOST_ENTRIES = 20_000
MOST_RATIO = 200  # XML shrinks to a twentieth, rarely to a hundredth
SMALL = 4 << 20  # bytes that may come from next to nothing
DEEPEST = 256  # elements in one another: a table in a table takes four
PIECE = 1 << 20


def check(task: Task, content: bytes) -> None:
    """Raises Refused for an archive that is broken, encrypted or a bomb."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            _check_sizes(task, entries, len(content))
            for entry in entries:
                if task.kind != kinds.EPUB and entry.filename.endswith((".xml", ".rels")):
                    _check_part(archive, entry)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, OSError) as error:
        raise Refused("broken", "its archive is damaged.") from error


def _check_sizes(task: Task, entries: list[zipfile.ZipInfo], size: int) -> None:
    if len(entries) > MOST_ENTRIES:
        raise Refused("too_large", f"its archive has {len(entries)} entries, and {MOST_ENTRIES} may be read.")
    if any(entry.flag_bits & 1 for entry in entries):
        raise Refused("encrypted")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > task.limits.unpacked_bytes:
        raise Refused("too_large", f"it unpacks to {unpacked} bytes, and {task.limits.unpacked_bytes} may be read.")
    for entry in entries:
        if entry.file_size > SMALL and entry.file_size > MOST_RATIO * max(entry.compress_size, 1):
            raise Refused("too_large", f"it unpacks to {MOST_RATIO} times its size and more, as no document does.")
    if sum(entry.compress_size for entry in entries) > size:
        raise Refused("too_large", "the entries of its archive overlap, as no document's do.")


class Depth:
    """How deep the elements of a part are, and that it defines none of what it means itself.

    ISO/IEC 29500-2, 7.1.4: no part of an Office document has a document type definition. Entities begin with one.
    """

    def __init__(self) -> None:
        self._depth = 0
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._open
        self.parser.EndElementHandler = self._close
        self.parser.StartDoctypeDeclHandler = self._refuse

    def _open(self, *_: object) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise Refused("too_large", f"its elements are nested more than {DEEPEST} deep.")

    def _close(self, *_: object) -> None:
        self._depth -= 1

    def _refuse(self, *_: object) -> None:
        raise Refused("broken", "it holds a document type definition, which no Office document has.")


def _check_part(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    parser = Depth().parser
    with archive.open(entry) as part:
        while piece := part.read(PIECE):
            try:
                parser.Parse(piece)
            except expat.ExpatError as error:
                raise Refused("broken", f"its part {entry.filename[:100]} is no XML.") from error
