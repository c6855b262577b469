"""A document's bytes tell its kind before its name does, and its name before whoever sent it."""

import pytest

from apps.file_processors.kinds import kind_of


@pytest.mark.parametrize(
    ("name", "said", "content", "kind"),
    [
        ("a.txt", "text/plain", b"%PDF-1.7\n", "application/pdf"),
        ("a", None, b"\n\n%PDF-1.4", "application/pdf"),
        ("a", None, b"junk before it %PDF-1.4", "application/pdf"),
        ("a.pdf", None, b"\x89PNG\r\n\x1a\n", "image/png"),
        ("a.MD", "text/plain", b"# A", "text/markdown"),
        ("a.csv", "application/vnd.ms-excel", b"a,b", "text/csv"),
        ("a", "text/html; charset=utf-8", b"<p>", "text/html"),
        ("a", "application/octet-stream", b"text", "text/plain"),
        ("a", "nonsense", b"text", "text/plain"),
        ("a", None, b"\x00\x01\x02", "application/octet-stream"),
    ],
)
def test_the_kind_of_a_document(name: str, said: str | None, content: bytes, kind: str) -> None:
    assert kind_of(name, said, content) == kind
