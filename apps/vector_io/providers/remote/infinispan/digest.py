"""HTTP's digest authentication (RFC 7616), which sends no password."""

import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

ALGORITHMS = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}  # by their names to OpenSSL
PART = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
NEXT = re.compile(r",\s*(?=[A-Za-z][\w-]*\s+\w+\s*=)")  # the beginning of another way to ask


@dataclass
class Challenge:
    """What a server asks to be answered. Its nonce is for one request at a time: the count of them must grow."""

    realm: str
    nonce: str
    algorithm: str
    qop: str
    opaque: str | None
    count: int = field(default=0)

    def answer(self, username: str, password: str, method: str, uri: str, own: str = "") -> str:
        """The header Authorization of a request for `uri`, which is the path with its query; `own` is our nonce."""
        self.count += 1
        count, own = f"{self.count:08x}", own or secrets.token_hex(8)
        who = self._hash(f"{username}:{self.realm}:{password}")
        what = self._hash(f"{method}:{uri}")
        middle = f"{self.nonce}:{count}:{own}:{self.qop}" if self.qop else self.nonce
        said = {
            "username": username,
            "realm": self.realm,
            "nonce": self.nonce,
            "uri": uri,
            "response": self._hash(f"{who}:{middle}:{what}"),
            **({"opaque": self.opaque} if self.opaque is not None else {}),
            **({"cnonce": own} if self.qop else {}),
        }
        quoted = ", ".join(f'{name}="{_escaped(text)}"' for name, text in said.items())
        more = f", qop={self.qop}, nc={count}" if self.qop else ""
        return f"Digest {quoted}, algorithm={self.algorithm}{more}"

    def _hash(self, text: str) -> str:
        return hashlib.new(ALGORITHMS[self.algorithm.upper()], text.encode()).hexdigest()


def challenges(header: str) -> Iterator[Challenge]:
    """Those of WWW-Authenticate that can be answered; a server may ask in several ways, in one header or more."""
    for said in NEXT.split(header):
        if not said.strip().lower().startswith("digest "):
            continue
        parts = {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare for name, quoted, bare in PART.findall(said)}
        algorithm = parts.get("algorithm", "MD5")
        offered = [one.strip() for one in parts.get("qop", "").split(",") if one.strip()]
        if algorithm.upper() in ALGORITHMS and parts.get("nonce") and (not offered or "auth" in offered):
            yield Challenge(
                parts.get("realm", ""), parts["nonce"], algorithm, "auth" if offered else "", parts.get("opaque")
            )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
