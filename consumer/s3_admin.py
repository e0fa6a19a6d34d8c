"""What is set on an S3 store rather than read from it: buckets and their notifications."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from consumer.s3_access import DEFAULT_REGION, S3Access
from consumer.s3_client import is_seaweed
from consumer.s3_errors import unanswered
from consumer.store import AccessDenied, NoSuchBucket
from handlers.contract import PermanentError, TransientError

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

T = TypeVar("T")

_UNKNOWN_REQUEST: Final = frozenset({"NotImplemented", "MethodNotAllowed"})

_BUCKET_EXISTS: Final = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})
"""SeaweedFS says so too when a notification is set: it takes the request for one that makes the bucket."""

_DENIED: Final = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"})


class NoNotifications(PermanentError):
    """The store has no notifications of buckets."""


class UnknownTarget(PermanentError):
    """The store knows no target of this name."""


class S3Admin:
    """
    Sets things on one store. Made by `open_admin`.

    All calls raise `TransientError` when the store does not answer, and `AccessDenied` when it refuses this user.
    """

    def __init__(self, client: S3Client, region: str) -> None:
        self._client = client
        self._region = region

    async def buckets(self) -> set[str]:
        """Return the names of the buckets."""
        answer = await _told("the list of buckets", self._client.list_buckets())
        return {bucket["Name"] for bucket in answer["Buckets"]}

    async def create(self, bucket: str) -> bool:
        """
        Make a bucket; False when it is there already.

        Raises:
            AccessDenied: Somebody else has one of this name; on Amazon S3 nobody can have another.
        """
        elsewhere = self._region != DEFAULT_REGION  # which alone must not be named
        configuration: Any = {"CreateBucketConfiguration": {"LocationConstraint": self._region}} if elsewhere else {}
        try:
            await self._client.create_bucket(Bucket=bucket, **configuration)
        except ClientError as error:
            if _code(error) not in _BUCKET_EXISTS:
                raise _translated(f"bucket {bucket}", error) from error
            # Stores do not agree which of the two words means whose; ours are listed.
            if bucket not in await self.buckets():
                raise AccessDenied(f"bucket {bucket} belongs to somebody else: choose another name") from error
            return False
        except (BotoCoreError, OSError) as error:
            raise unanswered(error) from error
        return True

    async def notification(self, bucket: str) -> dict[str, Any]:
        """
        Return what is set on a bucket: `QueueConfigurations` and others, as S3 names them.

        Raises:
            NoNotifications: The store has none; SeaweedFS answers all the same, as if none were set.
            NoSuchBucket: The bucket does not exist.
        """
        found = await _told(f"bucket {bucket}", self._client.get_bucket_notification_configuration(Bucket=bucket))
        if is_seaweed(found["ResponseMetadata"]["HTTPHeaders"].get("server", "")):
            raise NoNotifications(f"bucket {bucket}: this store has no notifications")
        return {name: value for name, value in found.items() if name != "ResponseMetadata"}

    async def set_notification(self, bucket: str, configuration: Mapping[str, Any]) -> None:
        """
        Set it instead of what is set.

        Raises:
            NoNotifications: The store has none.
            UnknownTarget: It does not know where to send them.
            NoSuchBucket: The bucket does not exist.
        """
        wanted: Any = configuration
        try:
            await self._client.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=wanted)
        except ClientError as error:
            if _code(error) in _BUCKET_EXISTS:
                raise NoNotifications(f"bucket {bucket}: this store has no notifications") from error
            if "ARN" in _text(error):
                raise UnknownTarget(f"bucket {bucket}: {_text(error)}") from error
            raise _translated(f"bucket {bucket}", error) from error
        except (BotoCoreError, OSError) as error:
            raise unanswered(error) from error


@asynccontextmanager
async def open_admin(access: S3Access) -> AsyncIterator[S3Admin]:
    """Open what sets things on a store; nothing is asked yet."""
    async with AsyncExitStack() as stack:
        session = access.session()
        yield S3Admin(await access.client(session, stack), access.region_of(session))


async def _told(what: str, asked: Awaitable[T]) -> T:
    try:
        return await asked
    except ClientError as error:
        raise _translated(what, error) from error
    except (BotoCoreError, OSError) as error:
        raise unanswered(error) from error


def _translated(what: str, error: ClientError) -> Exception:
    if _code(error) == "NoSuchBucket":
        return NoSuchBucket(f"{what} does not exist: `lakedrop notify apply` makes it")
    if _code(error) in _UNKNOWN_REQUEST:
        return NoNotifications(f"{what}: the store does not know this request: {_text(error)}")
    if _code(error) in _DENIED:
        return AccessDenied(f"{what}: the store refuses this user: {_text(error)}")
    if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:  # noqa: PLR2004 (HTTP: its fault)
        return TransientError(f"{what}: {_text(error)}")
    return PermanentError(f"{what}: the store answers {_text(error)}")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _text(error: ClientError) -> str:
    return f"{_code(error)}: {error.response.get('Error', {}).get('Message', '')}".rstrip(": ")
