"""What the files service does for whoever needs files, and what a provider that keeps their bytes must do.

Two protocols, since they are two things: rows (names, owners, purposes, expiry) are the service's, in the database;
bytes are a provider's, under ids that the service makes.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from apps.files.schemas import FileFilter, FileObject, FileUpload
from llamastack.call import Call
from llamastack.pagination import Page


@dataclass(frozen=True)
class NewFile:
    """`described` is asked once the content has been read: a form may tell last what its file is for."""

    content: AsyncIterator[bytes]
    described: Callable[[], FileUpload]


class Files(Protocol):
    """Every method raises NotFound for a file that the caller may not see, or that has expired."""

    async def upload(self, call: Call, new: NewFile) -> FileObject:
        """The file, which survives a crash from now on. Nothing of it is kept where this raises."""
        ...

    async def list(self, call: Call, paging: FileFilter) -> Page[FileObject]: ...

    async def get(self, call: Call, file_id: str) -> FileObject: ...

    async def delete(self, call: Call, file_id: str) -> None: ...

    def content(self, call: Call, file_id: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`, which is left out."""
        ...


@dataclass(frozen=True)
class Kept:
    """What a provider has kept: so many bytes, by the name under which it finds them again."""

    bytes: int
    name: str


class FileStore(Protocol):
    """A provider: bytes under ids that are unique and hold no more than letters, digits and dashes, or under names of
    its own."""

    @property
    def lifetime_seconds(self) -> int | None:
        """After which a file expires that nobody gave a time. None: it is kept."""
        ...

    async def write(self, file_id: str, new: NewFile) -> Kept:
        """Keep its content, and return once that would survive a crash.

        Where this raises nothing is kept: DiskFull, or whatever `content` or `described` raises.
        """
        ...

    def read(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`, in pieces. Raises Unavailable where they are gone."""
        ...

    async def delete(self, name: str) -> None:
        """Harmless to repeat, and where there is only a part of it, or nothing. A file that was never kept whole has
        its id for a name."""
        ...

    async def sweep(self) -> None:
        """Remove what uploads have left that were broken off long ago: those of a process that was killed."""
        ...
