"""Bodies that are packed come out piece by piece, whole or not at all."""

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as some

from llamastack.egress.incoming import Unreadable
from llamastack.egress.unpacking import Unpacking

TEXT = b"".join(b"%d bottles, " % number for number in range(5000))


def raw(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


WAYS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "several members": (
        "gzip",
        lambda data: b"".join(map(gzip.compress, (data[:999], b"", data[999:]))),
    ),
    "deflate": ("deflate", zlib.compress),
    "deflate without a header": ("deflate", raw),
}


def unpacked(encoding: str, pieces: list[bytes], most: int) -> tuple[bytes, bool]:
    """What comes out, and whether its end has been reached."""
    unpacking, whole = Unpacking(encoding), b""
    for piece in pieces:
        whole += (found := unpacking.take(piece, most))
        assert len(found) <= most
        while unpacking.more:
            whole += (found := unpacking.take(b"", most))
            assert len(found) <= most
    return whole, not unpacking.cut


@given(some.sampled_from(sorted(WAYS)), some.integers(1, 300), some.sampled_from([1000, 4096, 10**6]))
def test_it_is_what_was_packed_however_it_comes(way: str, size: int, most: int) -> None:
    encoding, pack = WAYS[way]
    packed = pack(TEXT)
    pieces = [packed[start : start + size] for start in range(0, len(packed), size)]
    assert unpacked(encoding, pieces, most) == (TEXT, True)


@pytest.mark.parametrize("way", ["gzip", "deflate", "deflate without a header"])
def test_no_beginning_of_it_is_all_of_it(way: str) -> None:
    encoding, pack = WAYS[way]
    packed = pack(TEXT)
    for length in range(1, len(packed), 97):
        assert not unpacked(encoding, [packed[:length]], 10**6)[1]


def test_an_empty_body_needs_no_end() -> None:
    assert unpacked("gzip", [], 100) == (b"", True)


def test_what_is_not_packed_is_refused() -> None:
    with pytest.raises(Unreadable, match="cannot be unpacked"):
        unpacked("gzip", [b"{}" * 100], 100)
    with pytest.raises(Unreadable, match="cannot be unpacked"):
        unpacked("deflate", [b"x" * 100], 100)
    with pytest.raises(Unreadable, match="cannot be unpacked"):
        unpacked("gzip", [gzip.compress(b"{}") + b"more"], 100)
