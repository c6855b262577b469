"""AWS credentials, which botocore finds and renews, and signatures that it makes with them. Egress sends.

What is signed, and how: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from llamastack.egress.transport import Outgoing
from llamastack.errors import StackError, UpstreamError

AGAIN_AFTER = 60.0  # seconds until credentials are looked for again where there are none
MANDATORY = 600  # seconds before their end from which botocore waits for new ones, and we do
LONG = 2**18  # bytes of a body, from which summing them up is left to a thread
SIGNED = ("authorization", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token")


class Credentials:
    """Those of a config, looked for when they are first needed. `search` blocks, and gives None where there are none.

    They are renewed by one caller; the others go on with the old ones as long as those hold. `clock` is monotonic.
    """

    def __init__(self, search: Callable[[], Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._search = search
        self._clock = clock
        self._lock = asyncio.Lock()
        self._found: Any = None
        self._search_at = -1.0

    @property
    def missing(self) -> bool:
        """Whether they were looked for and not found."""
        return self._found is None and self._search_at >= 0

    async def sought(self) -> None:
        """Looks for them, if that is due. Raises UpstreamError where who should tell them fails."""
        if self._found is None:
            async with self._lock:
                if self._found is None and self._clock() >= self._search_at:
                    self._found = await self._asked(self._search)
                    self._search_at = self._clock() + AGAIN_AFTER

    async def current(self) -> Any:
        """botocore's ReadOnlyCredentials, or None. Raises UpstreamError where none are issued."""
        await self.sought()
        if self._found is None:
            return None
        if not ends_within(self._found, None):
            return self._found.get_frozen_credentials()
        return await self._renewed()

    async def _renewed(self) -> Any:
        if self._lock.locked() and not ends_within(self._found, MANDATORY):
            return self._found.get_frozen_credentials()  # another is at it, and botocore's own lock does not wait
        async with self._lock:
            return await self._asked(self._found.get_frozen_credentials)

    async def _asked(self, blocking: Callable[[], Any]) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return await asyncio.to_thread(blocking)
        except (BotoCoreError, ClientError) as error:
            raise UpstreamError(f"AWS issued no credentials: {error} Check how they are configured.") from error
        except (OSError, ValueError) as error:  # of a token's file that is missing, or is no text
            said = getattr(error, "strerror", None) or type(error).__name__
            raise UpstreamError(f"AWS credentials cannot be read from a file: {said}. Check its name.") from error


def ends_within(credentials: Any, seconds: int | None) -> bool:
    """Whether they end so soon; with None, so soon that botocore would renew them. Keys that last never do."""
    from botocore.credentials import RefreshableCredentials

    return isinstance(credentials, RefreshableCredentials) and bool(credentials.refresh_needed(seconds))


class Signer:
    """Signs what has no key of its own. Raises what `missing` gives where there are no credentials."""

    def __init__(self, credentials: Credentials, service: str, region: str, missing: Callable[[], StackError]) -> None:
        self.credentials, self.service, self.region, self.missing = credentials, service, region, missing

    async def __call__(self, outgoing: Outgoing) -> Mapping[str, str]:
        if any(name.lower() == "authorization" for name in outgoing.headers):
            return {}
        current = await self.credentials.current()
        if current is None:
            raise self.missing()
        if len(outgoing.body or b"") > LONG:
            return await asyncio.to_thread(signature, outgoing, current, self.service, self.region)
        return signature(outgoing, current, self.service, self.region)


def signature(outgoing: Outgoing, credentials: Any, service: str, region: str) -> dict[str, str]:
    """The headers that sign a request: its method, address, type and body."""
    from botocore.auth import S3SigV4Auth, SigV4Auth
    from botocore.awsrequest import AWSRequest

    own = {name: value for name, value in outgoing.headers.items() if name.lower() == "content-type"}
    request = AWSRequest(method=outgoing.method, url=outgoing.url, headers=own, data=outgoing.body)
    (S3SigV4Auth if service == "s3" else SigV4Auth)(credentials, service, region).add_auth(request)
    return {name: value for name, value in request.headers.items() if name.lower() in SIGNED}
