"""How to reach an S3 store: address, region, keys; and the client of aiobotocore, which finds what is not given."""

from __future__ import annotations

import functools
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.loaders import Loader, create_loader
from pydantic import SecretStr

from consumer.settings import Settings
from consumer.store import AccessDenied
from handlers.contract import TransientError

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

DEFAULT_REGION: Final = "us-east-1"
"""What stores other than Amazon's take every signature to be for, unless they were told otherwise."""

CONNECT_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 30.0
"""How long a store may say nothing in the middle of an answer."""


@dataclass(frozen=True, slots=True)
class S3Access:
    """Where a store is and who we are there. What is not given is found as Amazon's tools find it."""

    endpoint: str | None = None
    """Unset: Amazon S3."""
    region: str | None = None
    path_style: bool | None = None
    """Buckets are named in the path; unset: yes at an endpoint."""
    ca_bundle: Path | None = None
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    silence_seconds: float = field(default=SILENCE_SECONDS, kw_only=True)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Take it from the settings."""
        return cls(
            settings.s3_endpoint,
            settings.s3_region,
            settings.s3_path_style,
            settings.s3_ca_bundle,
            settings.s3_access_key,
            settings.s3_secret_key,
        )

    @property
    def style(self) -> Literal["path", "virtual", "auto"]:
        """Where buckets are named, in the word of botocore."""
        if self.path_style is None:
            return "auto" if self.endpoint is None else "path"
        return "path" if self.path_style else "virtual"

    def session(self) -> AioSession:
        """Make a session that has the keys, or Amazon's chain of places to find some."""
        session = get_session()
        session.register_component("data_loader", _descriptions(session.get_config_variable("data_path")))
        if self.access_key is not None and self.secret_key is not None:
            session.set_credentials(self.access_key.get_secret_value(), self.secret_key.get_secret_value())
        return session

    def region_of(self, session: AioSession) -> str:
        """Return the region that requests are signed for."""
        found = None if self.endpoint else session.get_config_variable("region")
        return self.region or found or DEFAULT_REGION

    async def client(self, session: AioSession, stack: AsyncExitStack) -> S3Client:
        """Open a client of aiobotocore, closed with `stack`: for what is asked seldom."""
        config = AioConfig(
            signature_version="s3v4",
            s3={"addressing_style": self.style},
            connect_timeout=CONNECT_SECONDS,
            read_timeout=self.silence_seconds,
            # Stores older than 2025 refuse checksums that they were not asked to know.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        return await stack.enter_async_context(
            session.create_client(
                "s3",
                region_name=self.region_of(session),
                endpoint_url=self.endpoint,
                verify=None if self.ca_bundle is None else str(self.ca_bundle),
                config=config,
            )
        )

    def trust(self, session: AioSession) -> ssl.SSLContext:
        """
        Return what vouches for the store. Blocks: it reads files.

        Raises:
            TransientError: The bundle holds no certificates, or may not be read.
        """
        bundle = self.ca_bundle or session.get_config_variable("ca_bundle")
        try:
            return ssl.create_default_context(cafile=bundle)
        except OSError as error:
            raise TransientError(f"s3_ca_bundle {bundle} cannot be read: {error}") from error


@functools.cache
def _descriptions(path: str | None) -> Loader:
    """Return what reads Amazon's descriptions of S3, and keeps them: most of the time to open a client is theirs."""
    return create_loader(path)


async def credentials_of(session: AioSession) -> Any:
    """
    Return the keys to sign with, which renew themselves.

    Raises:
        AccessDenied: There are none.
    """
    found = await session.get_credentials()
    if found is None:
        raise AccessDenied("no keys for the store: set s3_access_key and s3_secret_key, or give the machine a role")
    return found
