"""What a provider of Amazon Bedrock can be told: in the words of 0.3.5 and of OGX."""

import os
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from apps.inference.providers.remote.vendor import VendorConfig
from llamastack.egress.network import NetworkConfig, Seconds, TimeoutConfig

REGION = "us-east-2"
Region = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class BedrockConfig(VendorConfig):
    """A region of Amazon Bedrock: an API key of Bedrock's, or AWS credentials, which sign each request.

    Without either, credentials are looked for where the AWS CLI looks: environment, profile, container, machine.
    """

    other_names: ClassVar = dict.fromkeys(
        ("auth_credential", "aws_bedrock_bearer_token", "aws_bearer_token_bedrock"), "api_key"
    )

    region_name: Region | None = Field(
        None, description=f"The AWS region, which is part of its address; AWS_DEFAULT_REGION or {REGION} where empty"
    )
    base_url: str = Field("", description="In place of https://bedrock-runtime.REGION.amazonaws.com")
    models_url: str = Field("", description="In place of https://bedrock.REGION.amazonaws.com, which lists the models")
    api_key: SecretStr | None = Field(None, description="An API key of Amazon Bedrock's (AWS_BEARER_TOKEN_BEDROCK)")
    aws_access_key_id: SecretStr | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_session_token: SecretStr | None = Field(None, description="What belongs to a key that holds for a time")
    aws_role_arn: str | None = Field(None, description="The role to assume with these credentials")
    aws_web_identity_token_file: str | None = Field(
        None, description="The file of a token with which to assume the role, as Kubernetes mounts one"
    )
    aws_role_session_name: str | None = Field(None, description="How the role's session is called in logs of AWS")
    profile_name: str | None = Field(None, description="The profile of ~/.aws/config and ~/.aws/credentials")
    session_ttl: Annotated[int, Field(ge=900, le=43_200)] | None = Field(
        3600, description="Seconds that a session of the role lasts; it is renewed before"
    )
    connect_timeout: Seconds | None = Field(
        None, description="Seconds until the connection must stand; network.timeout.connect goes before it"
    )
    read_timeout: Seconds | None = Field(
        None, description="Seconds to wait for an answer; network.timeout.read goes before it"
    )
    total_max_attempts: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Of requests for credentials alone. Calls of models are repeated as with every provider"
    )
    retry_mode: Literal["legacy", "standard", "adaptive"] | None = Field(
        None, description="Of requests for credentials alone, as total_max_attempts"
    )
    openai_models: list[str] | None = Field(
        None,
        description="Models to ask by Bedrock's OpenAI-compatible API, one a line, as openai.gpt-oss-120b-1:0: it "
        "takes seed, penalties and the like, and leaves reasoning in the text. All others are asked by Converse",
    )

    @model_validator(mode="before")
    @classmethod
    def without_the_unset(cls, values: Any) -> Any:
        """A variable that is not set leaves an empty text, which is no value."""
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value != "" or name == "base_url"}

    @model_validator(mode="after")
    def complete(self) -> Self:
        if bool(self.aws_access_key_id) != bool(self.aws_secret_access_key):
            raise ValueError("aws_access_key_id and aws_secret_access_key belong together: give both or neither")
        if self.aws_session_token and not self.aws_access_key_id:
            raise ValueError("aws_session_token belongs to aws_access_key_id: give both")
        if self.aws_web_identity_token_file and not self.aws_role_arn:
            raise ValueError("aws_web_identity_token_file needs aws_role_arn, the role that it is for")
        return self

    @field_validator("models_url")
    @classmethod
    def lists_at_an_address(cls, value: str) -> str:
        return cls.an_address(value) or ""

    @property
    def of_the_server(self) -> Mapping[str, Any]:
        """Without a key of either kind: what the environment, the profiles, the machine or a token's file have."""
        if self.api_key or self.aws_access_key_id:
            names: tuple[str, ...] = ("profile_name", "aws_web_identity_token_file")
            return {name: value for name in names if (value := getattr(self, name))}
        names = ("api_key", "profile_name", "aws_web_identity_token_file", "aws_role_arn")
        return {name: getattr(self, name) for name in names}

    @property
    def region(self) -> str:
        return self.region_name or os.environ.get("AWS_DEFAULT_REGION") or REGION

    @property
    def reached(self) -> NetworkConfig:
        """The network section, with the time-outs of old."""
        network = self.network or NetworkConfig()
        own = network.timeout or TimeoutConfig()
        waits = TimeoutConfig(connect=own.connect or self.connect_timeout, read=own.read or self.read_timeout)
        return network.model_copy(update={"timeout": waits})

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"api_key": "key", "region_name": REGION}
