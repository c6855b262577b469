"""Files in a bucket of Amazon S3, or of a server that speaks its protocol."""

from apps.files.providers.remote.s3.provider import S3 as S3
from apps.files.providers.remote.s3.provider import S3Config as S3Config
