"""Access tokens that end: one for all calls, renewed before it does, by one caller at a time."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Protocol
from urllib.parse import urlencode

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from apps.inference.providers.remote.vendor import is_http
from llamastack.egress import Egress
from llamastack.errors import StackError, UpstreamError
from llamastack.providers import ProviderUnavailable

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
RENEW_BEFORE = 225.0  # seconds
AGAIN_AFTER = 20.0  # seconds between two tries to renew a token that still holds
ISSUE_SECONDS = 15.0
logger = logging.getLogger(__name__)


def an_address(url: str) -> str:
    if not is_http(url):
        raise ValueError("this is no address of a server: write https://host, and its path")
    return url


# A field of it is called …_url or …_host: so the registry knows that secrets go there (apps/registry/secrets.py).
TokenServer = Annotated[str, AfterValidator(an_address)]


class Issued(BaseModel):
    """A token server's answer. Its `expires_in` counts from now, so that no clock need be right."""

    access_token: str = Field(min_length=1)
    expires_in: float = Field(gt=0)


class Credentials(Protocol):
    async def issue(self) -> Any:
        """A new token: the token server's own answer. Raises StackErrors."""
        ...


class FromForm:
    """Issued for a form that is posted, as OAuth 2.0 has it (RFC 6749, 4.4.2)."""

    def __init__(self, egress: Egress, url: str, form: Mapping[str, str]) -> None:
        self.egress, self.url, self.form = egress, url, form

    async def issue(self) -> Any:
        return await self.egress.post(self.url, urlencode(self.form).encode(), FORM)


class Tokens:
    """The current token, renewed before it ends, by one caller at a time.

    Where the renewal fails, the old token is used up to its end. `clock` is a monotonic one.
    """

    def __init__(self, credentials: Credentials, clock: Callable[[], float] = time.monotonic) -> None:
        self._credentials = credentials
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token = ""
        self._renew_at = self._ends_at = -1.0

    async def current(self) -> str:
        if self._clock() < self._renew_at or (self._lock.locked() and self._clock() < self._ends_at):
            return self._token
        async with self._lock:
            if self._clock() >= self._renew_at:
                await self._renew()
        return self._token

    async def _renew(self) -> None:
        asked_at = self._clock()
        try:
            issued = await self._issued()
        except StackError as error:
            if self._clock() >= self._ends_at:
                raise
            logger.warning("An access token could not be renewed yet: %s", error.message)
            self._renew_at = min(self._clock() + AGAIN_AFTER, self._ends_at)
            return
        self._token = issued.access_token
        self._ends_at = asked_at + issued.expires_in
        self._renew_at = self._ends_at - min(RENEW_BEFORE, issued.expires_in / 2)

    async def _issued(self) -> Issued:
        """A new token. Where there is none, that is never the caller's fault, whatever status the server chose."""
        try:
            async with asyncio.timeout(ISSUE_SECONDS):
                return Issued.model_validate(await self._credentials.issue())
        except TimeoutError:
            said = f"the token server did not answer within {ISSUE_SECONDS:g} s."
        except ProviderUnavailable:
            raise
        except StackError as error:
            said = error.message
        except ValidationError:
            said = "the token server's answer has no access_token and expires_in."
        raise UpstreamError(f"No access token was issued: {said} Check the credentials, and this machine's clock.")
