"""Bodies that are packed (gzip, deflate), unpacked no further than they are read."""

import zlib

from llamastack.egress.incoming import Unreadable

PACKED = ("gzip", "deflate")
GZIP, ZLIB, RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS


class Unpacking:
    """One body, which may be of several gzip members. `packed` is what of it has come and is not unpacked yet."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self.unpacker: zlib._Decompress | None = None
        self.packed = b""
        self.more = False  # of what has come, though nothing of it may be left

    def take(self, data: bytes, most: int) -> bytes:
        """At most so many bytes of what has come by now. Raises Unreadable."""
        packed = self.packed + data if self.packed else data
        if self.unpacker is None or (self.unpacker.eof and packed):
            if not packed:
                return b""
            self.unpacker = zlib.decompressobj(self._kind(packed[0]))
        try:
            unpacked = self.unpacker.decompress(packed, most)
        except zlib.error as error:
            raise Unreadable(f"{self.encoding} that cannot be unpacked ({error})") from None
        self.packed = self.unpacker.unused_data if self.unpacker.eof else self.unpacker.unconsumed_tail
        self.more = bool(self.packed) or len(unpacked) == most
        return unpacked

    def _kind(self, first: int) -> int:
        """Some servers send deflate without the header of zlib, of whose first byte the lower half is 8."""
        if self.encoding == "gzip":
            return GZIP
        return ZLIB if first & 0xF == 8 else RAW

    @property
    def cut(self) -> bool:
        """Whether it ends, if nothing more comes, before its end."""
        return self.unpacker is not None and not self.unpacker.eof
