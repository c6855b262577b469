"""Vectors in a Milvus server, or in Zilliz Cloud."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator

from apps.vector_io.providers.in_milvus.client import connected
from apps.vector_io.providers.in_milvus.provider import StoresInMilvus
from apps.vector_io.providers.in_milvus.stores import Locks, Stores
from llamastack.errors import StackError
from llamastack.providers import ProviderConfig, ProviderUnavailable

# With a path of other signs, pymilvus would open a file of this machine.
ADDRESS = re.compile(r"https?://(\[[0-9a-f:.]+\]|[\w.-]+)(:\d{1,5})?(/[A-Za-z_]\w*)?/?", re.ASCII | re.IGNORECASE)
GLOBAL = "global-cluster"  # of Zilliz Cloud: pymilvus asks it, by HTTP of its own, where else to connect to
FILES = ("server_pem_path", "ca_pem_path", "client_pem_path", "client_key_path")


class MilvusConfig(ProviderConfig):
    uri: str = Field(description="Where Milvus is, such as http://localhost:19530. A path names its database.")
    token: SecretStr | None = Field(None, description="user:password, or an API key of Zilliz Cloud.")
    consistency_level: Literal["Strong", "Bounded", "Session", "Eventually"] = Field(
        "Strong", description="With another one than Strong, what was inserted may be found some seconds later."
    )
    db_name: str | None = Field(None, description="The database, where the path of `uri` names none.")
    index_type: Literal["HNSW", "AUTOINDEX", "FLAT"] = Field(
        "HNSW", description="Of the vectors. Zilliz Cloud has AUTOINDEX."
    )
    timeout_seconds: float = Field(30.0, gt=0, description="For an answer.")
    secure: bool | None = Field(None, description="Whether TLS is spoken; by default where `uri` is https.")
    server_pem_path: str | None = Field(None, description="The certificate, or its CA's, that the server is known by.")
    server_name: str | None = Field(None, description="The name in the server's certificate, where it is another.")
    ca_pem_path: str | None = Field(None, description="For mutual TLS, with the two below: the CA's certificate.")
    client_pem_path: str | None = None
    client_key_path: str | None = None
    persistence: dict[str, Any] | None = Field(
        None, description="Where Llama Stack keeps what it knows of a store. Here that is Milvus."
    )

    @field_validator("uri")
    @classmethod
    def an_address(cls, value: str) -> str:
        """The text is not repeated: it may hold a password."""
        if not ADDRESS.fullmatch(value):
            raise ValueError(
                "this is no address of a Milvus server: write http://host:19530, or https://host:19530/database. "
                "A user and its password go into `token`; for a file use inline::milvus"
            )
        if GLOBAL in value.lower():
            raise ValueError("a global cluster leads to other addresses: write that of one of its clusters")
        return value

    @property
    def of_the_server(self) -> Mapping[str, Any]:
        return {name: getattr(self, name) or "" for name in FILES}

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"uri": "http://localhost:19530", "token": "root:Milvus"}


class Milvus(StoresInMilvus):
    config: MilvusConfig
    config_class = MilvusConfig

    def opened(self) -> Stores:
        if self.confined:
            raise ProviderUnavailable("Milvus is reached without the guards of this server: an operator adds it.")
        config = self.config
        names = ("db_name", "secure", "server_name", *FILES)
        given = {name: value for name in names if (value := getattr(config, name)) is not None}
        token = config.token.get_secret_value() if config.token else ""
        try:
            return self._opened(connected(config.uri, config.timeout_seconds, token=token, **given))
        except StackError as error:
            raise ProviderUnavailable(error.message) from error
        except OSError as error:
            raise ProviderUnavailable(f"A file of this provider's config cannot be read: {error}.") from error

    def _opened(self, client: Any) -> Stores:
        config = self.config
        try:
            return Stores(client, config.consistency_level, config.index_type, config.timeout_seconds, Locks())
        except BaseException:
            client.close()
            raise
