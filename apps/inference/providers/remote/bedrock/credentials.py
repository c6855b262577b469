"""How the AWS credentials of a config are found. llamastack/egress/aws.py holds and renews them, and signs with them.

Where they are looked for: https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html

botocore itself asks STS, single sign-on, and the metadata servers of machines and containers for credentials, in a
thread. The provider's `network` holds for STS and single sign-on: `proxy` (but for `no_proxy`), `tls` with a file of
CAs and a client certificate, and the time-outs; of a metadata server nothing is asked through a proxy.
"""

from collections.abc import Callable
from typing import Any

from apps.inference.providers.remote.bedrock.config import BedrockConfig
from llamastack.providers import ProviderUnavailable


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
