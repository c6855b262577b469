"""AWS credentials, which botocore finds and renews, and signatures that it makes with them. Egress sends.

Where they are looked for: https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
What is signed, and how: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html

botocore itself asks STS, single sign-on, and the metadata servers of machines and containers for credentials, in a
thread. The provider's `network` holds for STS and single sign-on: `proxy` (but for `no_proxy`), `tls` with a file of
CAs and a client certificate, and the time-outs; of a metadata server nothing is asked through a proxy.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from apps.inference.providers.remote.bedrock.config import BedrockConfig
from llamastack.egress.transport import Outgoing
from llamastack.errors import StackError, UpstreamError
from llamastack.providers import ProviderUnavailable

SERVICE = "bedrock"  # as signatures name it, whichever of its hosts is asked
AGAIN_AFTER = 60.0  # seconds until credentials are looked for again where there are none
MANDATORY = 600  # seconds before their end from which botocore waits for new ones, and we do
LONG = 2**18  # bytes of a body, from which summing them up is left to a thread
SIGNED = ("authorization", "x-amz-date", "x-amz-security-token")


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

    def __init__(self, credentials: Credentials, region: str, missing: Callable[[], StackError]) -> None:
        self.credentials, self.region, self.missing = credentials, region, missing

    async def __call__(self, outgoing: Outgoing) -> Mapping[str, str]:
        if any(name.lower() == "authorization" for name in outgoing.headers):
            return {}
        current = await self.credentials.current()
        if current is None:
            raise self.missing()
        if len(outgoing.body or b"") > LONG:
            return await asyncio.to_thread(signature, outgoing, current, self.region)
        return signature(outgoing, current, self.region)


def signature(outgoing: Outgoing, credentials: Any, region: str) -> dict[str, str]:
    """The headers that sign a request: its method, address, type and body."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    own = {name: value for name, value in outgoing.headers.items() if name.lower() == "content-type"}
    request = AWSRequest(method=outgoing.method, url=outgoing.url, headers=own, data=outgoing.body)
    SigV4Auth(credentials, SERVICE, region).add_auth(request)
    return {name: value for name, value in request.headers.items() if name.lower() in SIGNED}


def searching(config: BedrockConfig) -> Callable[[], Any]:
    """How a config's credentials are found. Raises ImportError where botocore is missing."""
    from botocore.session import Session

    def search() -> Any:
        session = Session(profile=config.profile_name or None)
        session.set_config_variable("region", config.region)
        for name, value in _reaching(session, config).items():
            session.set_config_variable(name, value)
        found = _own(config) or (None if config.aws_web_identity_token_file else _of_session(session))
        return found if config.aws_role_arn is None else _of_role(session, config, found)

    return search


def _reaching(session: Any, config: BedrockConfig) -> dict[str, str]:
    """Makes botocore's own requests go the provider's way. Without a proxy there it takes none of the environment."""
    from botocore.config import Config

    network = config.reached
    proxy, tls = network.proxy, network.tls
    proxies = (
        {scheme: (proxy.http if scheme == "http" else proxy.https) or proxy.url for scheme in ("http", "https")}
        if proxy
        else {}
    )
    retries = {"total_max_attempts": config.total_max_attempts, "mode": config.retry_mode}
    timeouts = network.timeouts()
    session.set_default_client_config(
        Config(
            connect_timeout=timeouts.connect,
            read_timeout=timeouts.first_byte,
            proxies={scheme: url for scheme, url in proxies.items() if url},
            proxies_config={"proxy_ca_bundle": str(proxy.cacert)} if proxy and proxy.cacert else None,
            client_cert=(str(tls.client_cert), str(tls.client_key)) if tls and tls.client_cert else None,
            retries={name: value for name, value in retries.items() if value is not None} or None,
        )
    )
    return {"ca_bundle": str(tls.verify.expanduser())} if tls and not isinstance(tls.verify, bool) else {}


def _own(config: BedrockConfig) -> Any:
    from botocore.credentials import Credentials as Keys

    if config.aws_access_key_id is None or config.aws_secret_access_key is None:
        return None
    token = config.aws_session_token
    return Keys(
        config.aws_access_key_id.get_secret_value(),
        config.aws_secret_access_key.get_secret_value(),
        token.get_secret_value() if token else None,
    )


def _of_session(session: Any) -> Any:
    from botocore.exceptions import ProfileNotFound

    try:
        return session.get_credentials()
    except ProfileNotFound as error:
        raise ProviderUnavailable(f"{error}. Set profile_name to one of ~/.aws/config, or leave it empty.") from error


def _of_role(session: Any, config: BedrockConfig, source: Any) -> Any:
    """Credentials of the role, which are fetched when they are first used."""
    from botocore import credentials as of_botocore

    asked = {"RoleSessionName": config.aws_role_session_name, "DurationSeconds": config.session_ttl}
    given = {name: value for name, value in asked.items() if value}
    if config.aws_web_identity_token_file:
        load = of_botocore.FileWebIdentityTokenLoader(config.aws_web_identity_token_file)
        fetcher = of_botocore.AssumeRoleWithWebIdentityCredentialFetcher(
            session.create_client, load, config.aws_role_arn, given
        )
    elif source is None:
        return None
    else:
        fetcher = of_botocore.AssumeRoleCredentialFetcher(session.create_client, source, config.aws_role_arn, given)
    return of_botocore.DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
