"""What a store's refusal to make a bucket means."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from consumer.s3_admin import S3Admin
from consumer.store import AccessDenied


class Refusing:
    """A client of a store that makes no bucket, and lists some."""

    def __init__(self, code: str, *listed: str) -> None:
        self._code = code
        self._listed = listed

    async def create_bucket(self, **_: Any) -> None:
        raise ClientError({"Error": {"Code": self._code, "Message": "no"}}, "CreateBucket")

    async def list_buckets(self) -> dict[str, Any]:
        return {"Buckets": [{"Name": name} for name in self._listed]}


def admin(client: Any) -> S3Admin:
    return S3Admin(client, "us-east-1")


@pytest.mark.parametrize("code", ["BucketAlreadyOwnedByYou", "BucketAlreadyExists"])
async def test_bucket_that_another_process_just_made_is_there(code: str) -> None:
    assert not await admin(Refusing(code, "uploads")).create("uploads")


async def test_bucket_of_somebody_else_is_not_taken_for_ours() -> None:
    with pytest.raises(AccessDenied, match="bucket uploads belongs to somebody else: choose another name"):
        await admin(Refusing("BucketAlreadyExists", "another")).create("uploads")
