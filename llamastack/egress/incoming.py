"""A reply of HTTP/1.1 as its bytes come, cut anywhere. It is read strictly: nothing of it has two readings.

llhttp itself refuses what is no HTTP, a length that stands twice or beside chunks, and folded or forged headers.
"""

from typing import NoReturn

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from llamastack.egress.interim import MOST_WAITING

MOST_HEADERS = 128
MOST_LINE_BYTES = 8190
MOST_OTHER_BYTES = 64 * 1024  # in a row that are none of the body's: heads, trailers, what stands beside chunks
INTERIM = range(100, 200)
BODILESS = (204, 304)


class Unreadable(Exception):
    """What is no HTTP, or more of it than is read."""


class Endless(Unreadable):
    """Interim answers, and still no answer."""


class Incoming:
    """One reply. `begun` once its head is here, `whole` once all of it is.

    Where no length is told, the body is whole when the server closes (`unbounded`). `clean` as long as the connection
    may carry another exchange: the server keeps it, its framing is beyond doubt, and nothing has followed.
    """

    __slots__ = (
        *("begun", "body", "clean", "fault", "framing", "headers", "interim", "length", "other_bytes", "owed"),
        *("parser", "reason", "size", "status", "told", "whole"),
    )

    def __init__(self) -> None:
        self.begun = self.whole = self.clean = False
        self.status = 0
        self.body: list[bytes] = []
        self.size = self.length = self.other_bytes = self.told = 0
        self.owed = 0  # of a body that has begun and whose length was told
        self.fault: Unreadable | None = None
        self.on_message_begin()
        self.parser: HttpResponseParser | None = HttpResponseParser(self)
        self.parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)  # which some servers pad it by

    @property
    def unbounded(self) -> bool:
        return self.begun and not self.framing and self.status not in BODILESS

    def feed(self, data: bytes) -> None:
        """Raises Unreadable."""
        if self.parser is None:
            self.clean = False
            return
        if self.owed:
            self._fill(data)
            return
        self.interim, length = 0, self.length
        try:
            self.parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.clean = False
            if not self.whole:
                raise self.fault or Unreadable(str(error)) from error
        self.other_bytes = self.other_bytes + len(data) if self.length == length else 0
        if self.whole:
            self.drop()
        elif self.other_bytes > MOST_OTHER_BYTES:
            raise Unreadable("a head without end")
        elif self.begun and self.framing == b"content-length":
            self.owed = max(0, self.told - self.length)

    def _fill(self, data: bytes) -> None:
        """What is left of a body whose length was told: nothing of it needs to be looked at, nor copied."""
        piece = data if len(data) <= self.owed else data[: self.owed]
        self.owed -= len(piece)
        self.on_body(piece)
        if not self.owed:
            self.clean = self.clean and len(piece) == len(data)
            self.on_message_complete()
            self.drop()

    def take(self) -> bytes:
        """What has come of the body since the last time."""
        body = self.body
        taken = body[0] if len(body) == 1 else b"".join(body)
        self.body = []
        self.size = 0
        return taken

    def drop(self) -> None:
        """The parser knows this object, as this object does the parser: neither would go by itself."""
        self.parser = None

    def refuse(self, why: str, kind: type[Unreadable] = Unreadable) -> NoReturn:
        """Out of a callback, which tells llhttp no more than that it has failed."""
        self.fault = kind(why)
        raise self.fault

    # --- what llhttp tells ---

    def on_message_begin(self) -> None:
        if self.begun:
            self.refuse("a second reply")
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.framing = b""

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.begun:
            return  # a trailer, which nobody has use for
        name = name.lower()
        self.headers.append((name, value))
        if len(self.headers) > MOST_HEADERS or len(name) + len(value) > MOST_LINE_BYTES:
            self.refuse("too long a head")
        if name in (b"content-length", b"transfer-encoding"):
            if self.framing or (name == b"transfer-encoding" and value.strip().lower() != b"chunked"):
                self.refuse("a framing in doubt")
            self.framing = name
            self.told = int(value) if name == b"content-length" and value.strip().isdigit() else 0  # llhttp checks it

    def on_headers_complete(self) -> None:
        parser = self.parser
        assert parser is not None
        self.status = parser.get_status_code()
        if self.status in INTERIM and self.status != 101:  # 101 would be another protocol, which nobody asked for
            self.interim += 1
            if self.interim > MOST_WAITING:
                self.refuse("interim answers alone", Endless)
            return
        version = parser.get_http_version()
        if version not in ("1.1", "1.0") or self.status <= 101 or len(self.reason) > MOST_LINE_BYTES:
            self.refuse("no HTTP/1.1")
        self.begun = True
        self.clean = version == "1.1" and parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        self.body.append(piece)
        self.size += len(piece)
        self.length += len(piece)

    def on_message_complete(self) -> None:
        self.whole = self.begun
