"""Files in a bucket of Amazon S3, or of a server that speaks its protocol (MinIO, Ceph, Cloudflare R2 …).

What is sent: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
"""

import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from apps.files.protocol import Kept, NewFile
from apps.files.providers.remote.s3.bucket import Bucket
from apps.files.providers.remote.s3.refusals import Refused
from apps.files.providers.remote.upstream import RemoteFiles
from llamastack.egress.aws import Credentials, Signer
from llamastack.egress.network import RemoteConfig
from llamastack.errors import StackError, UpstreamError
from llamastack.providers import Health

PART_BYTES = 8 * 1024 * 1024  # S3 takes none of fewer than 5 MiB but the last
LEFT = timedelta(days=1)  # after which an upload is given up here, too
PREFIX = "file-"  # of every id that the service makes
OURS = re.compile(r"file-[0-9a-f]{32}")  # others may use the bucket too, and begin a name like that
IN_A_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")  # a bucket that may stand in a host's name under TLS
REGION = "us-east-1"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$")]
Region = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
logger = logging.getLogger(__name__)


class S3Config(RemoteConfig):
    bucket_name: Name = Field(description="The bucket. What else is in it is left alone")
    region: Region = REGION
    aws_access_key_id: SecretStr | None = Field(
        None,
        description="Without it, credentials are looked for where the AWS CLI looks: environment, profile, machine",
    )
    aws_secret_access_key: SecretStr | None = None
    endpoint_url: str | None = Field(None, description="A server other than Amazon's, as http://localhost:9000")
    auto_create_bucket: bool = Field(False, description="Make the bucket where there is none")
    metadata_store: dict[str, Any] | None = Field(
        None, description="Where Llama Stack keeps what it knows of a file. Here that is the one database."
    )

    @model_validator(mode="before")
    @classmethod
    def without_the_unset(cls, values: Any) -> Any:
        """A variable that is not set leaves an empty text, which is no value."""
        return {name: value for name, value in values.items() if value != ""} if isinstance(values, dict) else values

    @field_validator("endpoint_url")
    @classmethod
    def an_address(cls, value: str | None) -> str | None:
        """The text is not repeated: it may hold a password."""
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("this is no address of a server: write http://host:port or https://host")
        return value

    @model_validator(mode="after")
    def complete(self) -> Self:
        if bool(self.aws_access_key_id) != bool(self.aws_secret_access_key):
            raise ValueError("aws_access_key_id and aws_secret_access_key belong together: give both or neither")
        return self

    @property
    def of_the_server(self) -> Mapping[str, Any]:
        return {} if self.aws_access_key_id else {"aws_access_key_id": ""}

    @property
    def url(self) -> str:
        """Of the bucket: its name is the host's first part at Amazon, where it can be, and a folder elsewhere."""
        if self.endpoint_url:
            return f"{self.endpoint_url.rstrip('/')}/{self.bucket_name}"
        host = f"s3.{self.region}.amazonaws.com{'.cn' if self.region.startswith('cn-') else ''}"
        inside = IN_A_NAME.fullmatch(self.bucket_name)
        return f"https://{self.bucket_name}.{host}" if inside else f"https://{host}/{self.bucket_name}"

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {
            "bucket_name": "my-files",
            "region": REGION,
            "aws_access_key_id": "AKIAEXAMPLE",
            "aws_secret_access_key": "secret",
        }


class S3(RemoteFiles):
    """Keeps each file as an object of its id. One of more than 8 MiB is sent in parts, which become one object at its
    end, or none."""

    config_class = S3Config
    config: S3Config
    bucket: Bucket

    async def start(self) -> None:
        signer = Signer(Credentials(searching(self.config)), "s3", self.config.region, self._keyless)
        egress = await self.open(self.config.url, {}, signer)
        self.bucket = Bucket(egress, self.config.bucket_name, self.config.region)
        if self.config.auto_create_bucket:
            try:
                await self._check()
            except StackError as error:  # its health says it too, and makes the bucket once that can be done
                logger.warning("%s", error.message)

    async def health(self) -> Health:
        try:
            await self._check()
        except StackError as error:
            return Health(False, error.message)
        return Health(True, f"bucket '{self.config.bucket_name}'")

    async def _check(self) -> None:
        try:
            await self.bucket.check()
        except Refused as error:
            if error.code != "NoSuchBucket" or not self.config.auto_create_bucket:
                raise
            await self.bucket.make()

    async def write(self, file_id: str, new: NewFile) -> Kept:
        upload = Upload(self.bucket, file_id)
        try:
            async for part in parts(new.content, PART_BYTES):
                await upload.add(part)
                del part  # before the next one gathers
            await upload.finish()
        except BaseException:  # the client has gone, what it sends is wrong, or S3 refuses it
            await upload.abort()
            raise
        return Kept(upload.bytes, file_id)

    def read(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        return self.bucket.content(name, start, end)

    async def delete(self, name: str) -> None:
        await self.bucket.delete(name)

    async def sweep(self) -> None:
        """Uploads of a process that was killed: S3 keeps their parts, unseen and paid for, until somebody ends them."""
        long_ago = datetime.now(UTC) - LEFT
        async for key, upload_id, begun in self.bucket.uploads(PREFIX):
            if OURS.fullmatch(key) and datetime.fromisoformat(begun) < long_ago:
                await self.bucket.abort(key, upload_id)

    def _keyless(self) -> UpstreamError:
        """No fault of the caller's own key."""
        return UpstreamError(
            f"{self.upstream} has no AWS credentials. Set aws_access_key_id and aws_secret_access_key in its config.",
            code="no_provider_key",
        )


class Upload:
    """A file on its way to a bucket: one object at its end, and nothing before."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self.bucket, self.key = bucket, key
        self.bytes = 0
        self._id: str | None = None
        self._tags: list[str] = []
        self._small = b""

    async def add(self, part: bytes) -> None:
        """Parts are full ones, but for the last."""
        self.bytes += len(part)
        if self._id is None:
            if len(part) < PART_BYTES:
                self._small = part
                return
            self._id = await self.bucket.begin(self.key)
        self._tags.append(await self.bucket.add(self.key, self._id, len(self._tags) + 1, part))

    async def finish(self) -> None:
        if self._id is None:
            await self.bucket.put(self.key, self._small)
        else:
            await self.bucket.complete(self.key, self._id, self._tags)

    async def abort(self) -> None:
        if self._id is not None:
            await self.bucket.abort(self.key, self._id)


async def parts(content: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The content in parts of so many bytes, and what remains. No more than two of them are in memory at a time."""
    held: list[bytes] = []
    count = 0
    async for piece in content:
        while count + len(piece) >= size:
            head, piece = piece[: size - count], piece[size - count :]  # noqa: PLW2901 - the rest of it
            whole = b"".join([*held, head])
            held.clear()
            count = 0
            yield whole
            del whole
        if piece:
            held.append(piece)
            count += len(piece)
    if held:
        yield b"".join(held)


def searching(config: S3Config) -> Callable[[], Any]:
    """How a config's credentials are found. Raises ImportError where botocore is missing."""
    from botocore.credentials import Credentials as Keys
    from botocore.session import Session

    def search() -> Any:
        if config.aws_access_key_id and config.aws_secret_access_key:
            return Keys(config.aws_access_key_id.get_secret_value(), config.aws_secret_access_key.get_secret_value())
        session = Session()
        session.set_config_variable("region", config.region)
        return session.get_credentials()

    return search
