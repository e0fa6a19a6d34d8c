"""What the S3 servers of the test stack have in common."""

from __future__ import annotations

import functools
import urllib.request
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session

from tests.stack.server import Instance, Server

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

ACCESS_KEY, SECRET_KEY = "lakedrop-tests", "store-of-tests"
REGION = "us-east-1"


class S3Server(Server):
    """
    A store.

    Args:
        instance: what runs it.
        url: endpoint; buckets are addressed by path.
        access_key: of a user who may do anything, with secret_key.
    """

    region = REGION

    def __init__(
        self, instance: Instance, url: str, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY
    ) -> None:
        super().__init__(instance)
        self.url = url
        self.access_key = access_key
        self.secret_key = secret_key

    def client(self) -> AbstractAsyncContextManager[S3Client]:
        """Return a client that has nothing to do with the one under test, and asks once."""
        client: AbstractAsyncContextManager[S3Client] = _session().create_client(
            "s3",
            endpoint_url=self.url,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            # Else each client reads a bundle of certificates, which takes longer than most of what it is asked.
            verify=None if self.url.startswith("https:") else False,
            config=AioConfig(s3={"addressing_style": "path"}, retries={"mode": "standard", "total_max_attempts": 1}),
        )
        return client

    async def create_bucket(self) -> str:
        """Create an empty bucket; return its name."""
        name = f"test-{uuid4().hex[:12]}"
        async with self.client() as client:
            await client.create_bucket(Bucket=name)
        return name


@functools.cache
def _session() -> AioSession:
    """Return the one session: a new one reads Amazon's descriptions of S3 anew, a fifth of a second for each client."""
    return get_session()


def address(url: str) -> tuple[str, str, str]:
    """Split `http://access:secret@host:port` into endpoint, access key and secret key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port}", parts.username or "", parts.password or ""


def is_healthy(url: str) -> bool:
    """Tell whether an address answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 (the address of our own server)
            return bool(answer.status == 200)
    except OSError:
        return False
