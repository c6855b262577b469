"""Who asks, by RFC 7616, and with the rules by which Elytron takes a nonce: its count must grow."""

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field

from aiohttp import web

REALM = "default"
HASHES = {"MD5": "md5", "SHA-256": "sha256"}


@dataclass
class Guard:
    """`asks` are the ways that the server offers, each in a header of its own."""

    username: str
    password: str
    asks: tuple[str, ...] = ("SHA-256", "MD5", "Basic")
    nonces: dict[str, int] = field(default_factory=dict)  # the highest count of each that was taken

    def challenges(self) -> list[tuple[str, str]]:
        nonce = secrets.token_urlsafe(24)
        if set(self.asks) & set(HASHES):
            self.nonces[nonce] = 0
        return [("WWW-Authenticate", self._challenge(one, nonce)) for one in self.asks]

    def _challenge(self, way: str, nonce: str) -> str:
        if way == "Basic":
            return f'Basic realm="{REALM}"'
        return (
            f'Digest realm="{REALM}", domain="/", nonce="{nonce}", opaque="00000000000000000000000000000000", '
            f'algorithm={way}, qop="auth"'
        )

    def lets(self, request: web.Request) -> bool:
        scheme, _, said = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic" and "Basic" in self.asks:
            return base64.b64decode(said).decode() == f"{self.username}:{self.password}"
        return scheme == "Digest" and self._answered(request, said)

    def _answered(self, request: web.Request, said: str) -> bool:
        parts = {name: quoted or bare for name, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', said)}
        if parts.get("uri") != request.raw_path or parts.get("username") != self.username:
            return False
        if (
            parts.get("algorithm") not in self.asks
            or parts.get("qop") != "auth"
            or parts.get("nonce") not in self.nonces
        ):
            return False

        def hashed(text: str) -> str:
            return hashlib.new(HASHES[parts["algorithm"]], text.encode()).hexdigest()

        who = hashed(f"{self.username}:{REALM}:{self.password}")
        what = hashed(f"{request.method}:{parts['uri']}")
        right = hashed(":".join((who, parts["nonce"], parts["nc"], parts["cnonce"], "auth", what)))
        if right != parts.get("response") or int(parts["nc"], 16) <= self.nonces[parts["nonce"]]:
            return False
        self.nonces[parts["nonce"]] = int(parts["nc"], 16)
        return True
