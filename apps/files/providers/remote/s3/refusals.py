"""What S3 says when it refuses, as the StackError that it is to our callers.

Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

import re
from collections.abc import Mapping

from llamastack.egress.failures import Refusal
from llamastack.errors import DiskFull, StackError, Unavailable, UpstreamError

CODE = re.compile(rb"<Code>([^<]{1,100})</Code>")
REGION = re.compile(rb"<Region>([^<]{1,100})</Region>")
TIME = re.compile(rb"<ServerTime>([^<]{1,100})</ServerTime>")
# Of a moment's: the same request may well be answered a little later.
BUSY = frozenset({"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted"})
FULL = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientCapacity"})
GONE = frozenset({"NoSuchKey", "InvalidRange"})
RETRY_SECONDS = 5.0
NEEDED = "GetObject, PutObject, DeleteObject, ListBucket, AbortMultipartUpload and ListBucketMultipartUploads"
REMEDIES = {
    "InvalidAccessKeyId": "AWS knows no such access key. Check aws_access_key_id in the provider's config.",
    "SignatureDoesNotMatch": "The secret does not belong to the access key. Check aws_secret_access_key.",
    "AccessDenied": f"These credentials may not do this with the bucket. Allow them {NEEDED}.",
    "AllAccessDisabled": "The bucket was closed by its owner or by AWS.",
    "ExpiredToken": "The credentials have expired. Renew them where they come from.",
    "InvalidToken": "The credentials' session token is not valid. Renew it where it comes from.",
    "NoSuchBucket": "There is no such bucket. Check bucket_name, make the bucket, or set auto_create_bucket.",
    "InvalidBucketName": "This is no name for a bucket. Check bucket_name.",
    "BucketAlreadyExists": "The bucket belongs to somebody else. Choose another bucket_name.",
}
ELSEWHERE = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})


class Busy(Unavailable):
    """Too much is asked of S3 at this moment, or it failed in itself."""


class Gone(Unavailable):
    """There is no such object, or it has fewer bytes."""


class Refused(UpstreamError):
    """Something is wrong with the provider's config, the bucket or this server's clock; `code` is S3's."""


def code_of(body: bytes) -> str:
    """S3's word for what is wrong; "" where it says none, as in the answer to a HEAD."""
    found = CODE.search(body)
    return found[1].decode(errors="replace") if found else ""


def meaning(refusal: Refusal, upstream: str, bucket: str, told: StackError) -> StackError:
    """The StackError of a refusal; `told`, which egress has made of it, where S3 says nothing that we know."""
    return of_code(code_of(refusal.body), refusal.body, refusal.reply.headers, upstream, bucket) or (
        DiskFull(f"{upstream} has no room for this file.") if refusal.status == 507 else told
    )


def of_code(code: str, body: bytes, headers: Mapping[str, str], upstream: str, bucket: str) -> StackError | None:
    where = f"{upstream} (bucket '{bucket}')"
    if code in BUSY:
        return Busy(f"{where} is busy: {code}. Try again shortly.", code="unavailable", retry_after=RETRY_SECONDS)
    if code in FULL:
        return DiskFull(f"{where} has no room for this file: {code}.")
    if code in GONE:
        return Gone(f"The content of this file is not in bucket '{bucket}' any more, or not all of it.")
    remedy = REMEDIES.get(code)
    if code in ELSEWHERE:
        remedy = f"The bucket is in another region{_region(body, headers)}. Set region to that."
    elif code == "RequestTimeTooSkewed":
        remedy = f"This server's clock is wrong{_time(body)}. Have it set by NTP."
    return Refused(f"{where} refused with {code}: {remedy}", code=code) if remedy else None


def _region(body: bytes, headers: Mapping[str, str]) -> str:
    found = REGION.search(body)
    region = found[1].decode(errors="replace") if found else headers.get("x-amz-bucket-region", "")
    return f", {region}" if region else ""


def _time(body: bytes) -> str:
    found = TIME.search(body)
    return f": S3 says that it is {found[1].decode(errors='replace')}" if found else ""
