"""Any server of the OpenAI dialect, with headers that come from the caller's provider data.

As OGX has it: `forward_headers` says which keys of the provider data go upstream, each under which header's name, their
values as they are; the config's own key wins over `passthrough_api_key`, and either over a forwarded Authorization.
Without an address in the config each caller names one, `passthrough_url`: that gets nothing of the operator's.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig
from llamastack.call import Call
from llamastack.egress import Egress
from llamastack.egress.guard import egress_of_caller
from llamastack.egress.network import HEADER_NAME, OWN_HEADERS
from llamastack.errors import BadRequest
from llamastack.provider_data import HEADER, ApiKey, ProviderData

URL = "passthrough_url"

# Where a message comes from is not for a caller to write either.
BLOCKED = OWN_HEADERS | {
    *("cookie", "forwarded", "set-cookie", "via", "x-real-ip"),
    *("x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-proto"),
}


class PassthroughConfig(OpenAICompatibleConfig):
    """A server of the OpenAI dialect, and which of a caller's provider data it gets as headers."""

    base_url: str = Field(
        "",
        description="Its address, with or without /v1 at the end; empty: callers name one as passthrough_url",
        examples=["http://localhost:8000"],
    )
    forward_headers: dict[str, str] | None = Field(
        None, description='Provider data to send as headers, {"its key": "Header-Name"}, each value as it is'
    )
    extra_blocked_headers: list[str] = Field(
        [], description="Names that forward_headers may not use, beside those that frame, route and identify a request"
    )

    @model_validator(mode="after")
    def keeps_its_key(self) -> "PassthroughConfig":
        if self.api_key is not None and self.api_key.get_secret_value() and not self.base_url:
            raise ValueError("api_key is for base_url alone: give base_url too, or let callers bring their own key")
        return self

    @model_validator(mode="after")
    def forwards_what_it_may(self) -> "PassthroughConfig":
        blocked = BLOCKED | {name.strip().lower() for name in self.extra_blocked_headers}
        if "" in blocked:
            raise ValueError("extra_blocked_headers: a header's name is empty")
        for key, header in (self.forward_headers or {}).items():
            if key.startswith("__"):
                raise ValueError(f"forward_headers: '{key}' is reserved; keys of provider data do not begin with __")
            if not HEADER_NAME.fullmatch(header):
                raise ValueError(f"forward_headers: '{header}' is no header's name")
            if header.lower() in blocked:
                raise ValueError(f"forward_headers: the header '{header}' is blocked")
        return self


class Passthrough(OpenAICompatible):
    config_class = PassthroughConfig
    config: PassthroughConfig
    data_key = "passthrough_api_key"
    api_path = "/v1"

    @classmethod
    def reads(cls) -> Mapping[str, Any]:
        return {URL: str, **super().reads()}

    def uses(self, data: ProviderData) -> bool:
        return not self.config.base_url or bool(self.of_caller(data))

    def passes(self, operation: str) -> bool:
        return bool(self.config.base_url)

    def named(self, url: str) -> Egress:
        """To an address that a caller names. Raises BadRequest where it leads to no public one."""
        return egress_of_caller(_versioned(url), self.upstream, {}, URL, self.egress.timeouts)

    def callers_egress(self, call: Call) -> Egress | None:
        if self.config.base_url:
            return None
        url = call.provider_data.read(URL, str)
        if url is None:
            how = f'name one in {HEADER}: {{"{URL}": "https://…"}}'
            raise BadRequest(f"{self.upstream} has no address: {how}.", param=URL)
        return self.named(url)

    async def call_headers(self, call: Call) -> Mapping[str, str]:
        return self.of_caller(call.provider_data)

    def of_caller(self, data: ProviderData) -> Mapping[str, str]:
        """What of a caller's goes along: no key where the config has one."""
        own = {name.lower() for name in self.egress.headers} if self.config.base_url else set()
        key = None if "authorization" in own else data.read(self.data_key, ApiKey)
        headers = dict(self.authorization(key.get_secret_value())) if key else {}
        taken = own | {name.lower() for name in headers}
        for name, header in (self.config.forward_headers or {}).items():
            value = data.get(name)
            if value is not None and header.lower() not in taken:
                headers[header] = _text(name, value)
        return headers

    async def listed(self) -> list[dict[str, Any]]:
        """Without an address of its own it lists nothing: models are registered."""
        return await super().listed() if self.config.base_url else []


def _versioned(address: str) -> str:
    return address.rstrip("/").removesuffix("/v1") + "/v1"


def _text(key: str, value: Any) -> str:
    """A value of provider data as a header's."""
    text = str(value) if isinstance(value, str | int | float) else "\n"
    if not (text.isascii() and text.isprintable()):
        raise BadRequest(f"The provider data '{key}' goes on as a header: give it as one line of ASCII.", param=key)
    return text
