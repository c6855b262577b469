"""What the remote file processors share: a document goes to a server in a form, and its text comes back by pages."""

import asyncio
import mimetypes
import secrets
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from apps.file_processors import kinds, refusals
from apps.file_processors.parsing.tidy import tidied
from apps.file_processors.protocol import ChunkTokens, Document, Page, Parsed
from apps.file_processors.providers.chunks import ChunksConfig
from llamastack.call import Call
from llamastack.egress import Egress
from llamastack.egress.guard import confine
from llamastack.egress.network import RemoteConfig, opened, sent
from llamastack.errors import StackError, UnsupportedParameter, UpstreamError, UpstreamRejected
from llamastack.providers import Health, Provider

BAD = (400, 413, 415, 422)  # statuses by which a server says that it is for the document


class ConvertingConfig(RemoteConfig, ChunksConfig):
    max_file_bytes: int = Field(64 << 20, ge=1, description="The largest document that is sent.")

    @field_validator("base_url", check_fields=False)
    @classmethod
    def an_address(cls, value: str) -> str:
        """The text is not repeated: it may hold a password."""
        if not value.startswith(("http://", "https://")):
            raise ValueError("this is no address of a server: write https://host")
        return value.rstrip("/")


class Converting(Provider):
    """Satisfies `FileProcessor`. A vendor says where a document is sent, with which fields, and reads the answer."""

    config: Any
    path = ""
    file_field = "files"
    health_path = ""
    opened: Egress | None = None

    @property
    def chunk_tokens(self) -> ChunkTokens:
        tokens: ChunkTokens = self.config.chunk_tokens
        return tokens

    @property
    def refuses(self) -> bool:
        return self.opened is not None and self.opened.breaker.refuses

    @property
    def egress(self) -> Egress:
        assert self.opened is not None
        return self.opened

    def address(self) -> str:
        base: str = self.config.base_url
        return base

    def credentials(self) -> dict[str, str]:
        return {}

    def fields(self, kind: str) -> dict[str, str]:
        """What the form says beside the document."""
        return {}

    def pages(self, name: str, answer: Any) -> list[tuple[int | None, str]]:
        """Raises StackError where the answer says that the document cannot be read, and UpstreamError for nonsense."""
        raise NotImplementedError

    async def start(self) -> None:
        network = await opened(self.config.network)
        timeouts = self.config.network.timeouts() if self.config.network else None
        name = f"Provider '{self.provider_id}'"
        self.opened = Egress(self.address(), name, sent(network, self.credentials()), timeouts, network)
        if self.confined:
            confine(self.opened, network, None)

    async def stop(self) -> None:
        if self.opened is not None:
            await self.opened.close()

    async def health(self) -> Health:
        if not self.health_path:
            return Health(not self.refuses)
        try:
            await self.egress.get(self.health_path)
        except StackError as error:
            return Health(False, error.message)
        return Health(True)

    async def parse(self, call: Call, document: Document, options: Mapping[str, Any] | None = None) -> Parsed:
        for name in options or {}:
            raise UnsupportedParameter(f"options.{name}", f"Provider '{self.provider_id}'")
        content = await asyncio.to_thread(refusals.read, document, self.config.max_file_bytes)
        kind = kinds.kind_of(document.name, document.mime_type, content)
        body, form_type = form(self.fields(kind), self.file_field, document.name, content)
        try:
            answer = await self.egress.post(self.path, body, {"Content-Type": form_type})
        except UpstreamRejected as error:
            if error.status not in BAD:
                raise
            raise refusals.broken(document.name, f"its reader says: {error.message[:500]}") from error
        found = await asyncio.to_thread(self._tidied, document.name, answer)
        return Parsed(tuple(found), self.provider_type, kind, {"page_count": len(found)} if found[0].number else {})

    def _tidied(self, name: str, answer: Any) -> list[Page]:
        found = [Page(number, tidied(text)) for number, text in self.pages(name, answer)]
        if not any(page.text for page in found):
            raise refusals.no_text(name)
        return found

    @property
    def provider_type(self) -> str:
        """What an answer names as its parser."""
        raise NotImplementedError

    def nonsense(self) -> UpstreamError:
        return UpstreamError(f"Provider '{self.provider_id}' answered with something that is no document.")


def form(fields: Mapping[str, str], name: str, filename: str, content: bytes) -> tuple[bytes, str]:
    """A multipart form with a file, and its content type."""
    boundary = secrets.token_hex(16)
    shown = filename.replace('"', "%22").replace("\r", " ").replace("\n", " ")  # the first as browsers write it
    kind = mimetypes.guess_type(filename)[0] or kinds.BINARY
    head = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{text}\r\n'
        for key, text in fields.items()
    ]
    head.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{shown}"\r\n')
    head.append(f"Content-Type: {kind}\r\n\r\n")
    whole = b"".join(["".join(head).encode(), content, f"\r\n--{boundary}--\r\n".encode()])
    return whole, f"multipart/form-data; boundary={boundary}"
