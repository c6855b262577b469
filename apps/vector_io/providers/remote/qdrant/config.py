"""What `remote::qdrant` is told: as Qdrant's own client is, by its names."""

from typing import Any

from pydantic import Field, SecretStr, field_validator, model_validator
from yarl import URL

from llamastack.egress.network import RemoteConfig

PORT = 6333
NO_SERVER = "this is no address of a server: write https://host:6333"


class QdrantConfig(RemoteConfig):
    location: str | None = Field(None, description="The same as url. Not :memory:, which inline::qdrant is for.")
    url: str | None = Field(None, description="Where Qdrant is, as https://host:6333. Its path is the prefix.")
    port: int | None = Field(PORT, ge=1, le=65535, description="Of its REST API, where the url has none.")
    grpc_port: int = Field(6334, ge=1, le=65535, description="Of no use here: Qdrant is spoken to by its REST API.")
    prefer_grpc: bool = Field(False, description="Of no use here: Qdrant is spoken to by its REST API.")
    https: bool | None = Field(None, description="Of a host without a scheme: by default where there is an api_key.")
    api_key: SecretStr | None = Field(None, description="What it expects as api-key.")
    prefix: str | None = Field(None, description="The path before its own, where a proxy stands before it.")
    timeout: int | None = Field(None, ge=1, description="Seconds for one request; network.timeout goes before it.")
    host: str | None = Field(None, description="Where Qdrant is, instead of a url. By default localhost.")
    collection_prefix: str = Field(
        "llama_stack",
        pattern=r"^[A-Za-z0-9_-]{1,100}$",
        description="What its collections' names begin with: another for each of several servers with one Qdrant.",
    )
    persistence: dict[str, Any] | None = Field(
        None, description="Where Llama Stack keeps what it knows of a store. Here that is a collection of Qdrant's."
    )

    @field_validator("location", "url", "host", "prefix")
    @classmethod
    def given(cls, value: str | None) -> str | None:
        """Empty, as a variable that is not set leaves it, is none."""
        return value or None

    @model_validator(mode="after")
    def one_server(self) -> "QdrantConfig":
        """The text is not repeated: it may hold a password."""
        if self.location == ":memory:":
            raise ValueError("what is kept in memory is gone with the process: use inline::qdrant, or name a server")
        if sum(value is not None for value in (self.location, self.url, self.host)) > 1:
            raise ValueError("url, location and host each name the server: give one of them")
        try:
            address = self.address
        except ValueError:
            raise ValueError(NO_SERVER) from None
        if not address.startswith(("http://", "https://")):
            raise ValueError(NO_SERVER)
        return self

    @property
    def address(self) -> str:
        named = self.url or self.location or self.host or "localhost"
        secure = self.https if self.https is not None else self.api_key is not None
        url = URL(named if "://" in named else f"{'https' if secure else 'http'}://{named}")
        if not url.host:
            raise ValueError(NO_SERVER)
        path = (self.prefix or url.path).strip("/")
        port = url.explicit_port or self.port or PORT
        return str(URL.build(scheme=url.scheme, host=url.host, port=port, path=f"/{path}")).rstrip("/")

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"url": "http://localhost:6333", "api_key": "key"}
