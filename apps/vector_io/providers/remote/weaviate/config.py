"""Where Weaviate is."""

from typing import Any

from pydantic import Field, SecretStr, field_validator
from yarl import URL

from llamastack.egress.network import RemoteConfig

LOCAL = ("localhost", "127.0.0.1", "::1")


class WeaviateConfig(RemoteConfig):
    weaviate_api_key: SecretStr | None = Field(None, description="What Weaviate expects as Bearer token")
    weaviate_cluster_url: str = Field(
        "localhost:8080",
        description="Where Weaviate's REST API is; without http:// it is https://, but for this machine's own",
    )
    persistence: dict[str, Any] | None = Field(
        None, description="Where Llama Stack keeps what it knows of a store. Here that is Weaviate."
    )

    @field_validator("weaviate_cluster_url", mode="before")
    @classmethod
    def an_address(cls, given: Any) -> Any:
        """With its scheme, and nothing behind the port. The text is not repeated: it may hold a password."""
        if given is None:
            return cls.an_address("localhost:8080")
        if not isinstance(given, str):
            return given
        text = given.strip()
        try:
            url = URL(text if "://" in text else f"{_scheme(text)}://{text}")
            whole = url.scheme in ("http", "https") and url.host and url.path in ("/", "/v1", "/v1/") and url.port
        except ValueError:
            whole = False
        if not whole or url.query_string or url.fragment:
            raise ValueError("this is no address of a server: write https://host, or localhost:8080")
        return str(url.with_path("")).rstrip("/")

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"weaviate_cluster_url": "localhost:8080"}


def _scheme(text: str) -> str:
    return "http" if URL(f"http://{text}").host in LOCAL else "https"
