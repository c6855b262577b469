"""Any server of the OpenAI dialect, with headers that come from the caller's provider data.

As OGX has it: `forward_headers` says which keys of the provider data go upstream, each under which header's name, their
values as they are; the config's own key wins over a forwarded Authorization.
"""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, SecretStr, model_validator

from apps.inference.providers.remote.openai_compatible import OpenAICompatible, OpenAICompatibleConfig
from llamastack.call import Call
from llamastack.errors import BadRequest

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What says how a message is framed, where it goes or who sent it is not for a caller to write.
BLOCKED = frozenset(
    {
        *("accept-encoding", "connection", "content-encoding", "content-length", "content-type", "cookie", "expect"),
        *("host", "keep-alive", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade"),
        *("forwarded", "proxy-authenticate", "proxy-authorization", "proxy-connection", "via", "x-real-ip"),
        *("x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-proto"),
    }
)


class PassthroughConfig(OpenAICompatibleConfig):
    """A server of the OpenAI dialect, and which of a caller's provider data it gets as headers."""

    base_url: str = Field(description="Its address, with or without /v1 at the end", examples=["http://localhost:8000"])
    forward_headers: dict[str, str] | None = Field(
        None, description='Provider data to send as headers, {"its key": "Header-Name"}, each value as it is'
    )
    extra_blocked_headers: list[str] = Field(
        [], description="Names that forward_headers may not use, beside those that frame, route and identify a request"
    )

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

    async def call_headers(self, call: Call) -> Mapping[str, str]:
        headers = dict(await super().call_headers(call))
        taken = {name.lower() for name in [*headers, *self.headers()]}
        for key, header in (self.config.forward_headers or {}).items():
            value = call.provider_data.get(key)
            if value is not None and header.lower() not in taken:
                headers[header] = _text(key, value)
        return headers


def _text(key: str, value: Any) -> str:
    """A value of provider data as a header's."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str | int | float) or not str(text).isprintable():
        raise BadRequest(f"The provider data '{key}' is sent on as a header: give it as one line of text.", param=key)
    return str(text)
