"""Secrets at rest: each encrypted on its own, as `enc:v1:<token>`, with keys apart from Django's SECRET_KEY.

The keys come from LLAMA_STACK_SECRET_KEYS (Fernet keys, comma-separated, the first one encrypts), or from a file in
LLAMA_STACK_HOME that is made on the first run.
"""

import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from llamastack.errors import StackError
from llamastack.home import home

PREFIX = "enc:v1:"


class UndecryptableSecret(StackError):
    """A stored secret that none of the keys opens."""


@cache
def _fernet() -> MultiFernet:
    text = os.environ.get("LLAMA_STACK_SECRET_KEYS") or kept("secret_keys", lambda: Fernet.generate_key().decode())
    return MultiFernet([Fernet(key.strip()) for key in text.split(",") if key.strip()])


def kept(name: str, make: Callable[[], str]) -> str:
    """The text of a private file in LLAMA_STACK_HOME, made on first use. Two processes that start at once agree."""
    path = home() / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{name}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(make())
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text().strip()


def without_password(text: str) -> str:
    """A URL as it is shown: `https://user:password@host` without what stands before the host."""
    return re.sub(r"(?<=://)[^/?#@\s]*@", "", text)


def encrypt(text: str) -> str:
    """`text` as it is stored; what is encrypted already stays as it is."""
    return text if text.startswith(PREFIX) else PREFIX + _fernet().encrypt(text.encode()).decode()


def decrypt(text: str) -> str:
    """The plain text of a stored secret; text that is not encrypted is returned as it is."""
    if not text.startswith(PREFIX):
        return text
    try:
        return _fernet().decrypt(text[len(PREFIX) :].encode()).decode()
    except InvalidToken as error:
        raise UndecryptableSecret(
            "A stored secret cannot be decrypted: set LLAMA_STACK_SECRET_KEYS to the keys it was saved with, "
            "or enter it again in the admin."
        ) from error
