"""What an S3 store says when it does not do as asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import aiohttp
from botocore.exceptions import SSLError
from lxml import etree

from consumer.store import AccessDenied
from handlers.contract import HandlerError, TransientError

PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that the same request, sent again, may not meet."""
PASSING_CODES: Final = frozenset({"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling"})

DENIED: Final = frozenset({401, 403})
DENIED_CODES: Final = frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId"})
"""Codes of status 400 that speak of who asks, not of what is asked for."""

XML: Final = etree.XMLParser(resolve_entities=False, no_network=True)


class Refusal(Exception):
    """
    An answer of status 300 and above.

    Attributes:
        status: Of HTTP.
        code: S3's own word, such as `NoSuchKey`; empty where there was no body to read it from.
        retry_after: Seconds that the store asked us to wait.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(" ".join(filter(None, (str(status), code))) + (f": {message}" if message else ""))
        self.status = status
        self.code = code
        self.region = headers.get("x-amz-bucket-region")
        seconds = headers.get("Retry-After", "")
        self.retry_after = float(seconds) if seconds.isdecimal() else None

    @classmethod
    def of(cls, status: int, body: bytes, headers: Mapping[str, str]) -> Refusal:
        """Read an answer."""
        found = {}
        try:
            for element in etree.fromstring(body, XML) if body else ():
                found[etree.QName(element).localname] = element.text or ""
        except (etree.XMLSyntaxError, ValueError):
            found = {}
        return cls(status, found.get("Code", ""), found.get("Message", "").strip(), headers)

    @property
    def passing(self) -> bool:
        """Whether asking again may help at once."""
        return self.status in PASSING or self.code in PASSING_CODES

    @property
    def denied(self) -> bool:
        """Whether the store refuses who asks."""
        return self.status in DENIED or self.code in DENIED_CODES


def described(error: Exception) -> str:
    """Name an error, of which some have no text."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def unanswered(error: Exception) -> TransientError:
    """Return the error of the contract for a request that no answer came to."""
    told = described(error)
    if isinstance(error, (aiohttp.ClientSSLError, SSLError)):
        return TransientError(f"the store cannot be trusted: {told}: set s3_ca_bundle")
    return TransientError(f"the store does not answer: {told}")


def translated(refusal: Refusal, what: str, region: str) -> HandlerError:
    """
    Return the error of the contract for a refusal that its caller knows nothing better for.

    Args:
        refusal: What came back.
        what: Bucket, or bucket and key.
        region: That the request was signed for.
    """
    if refusal.region not in {None, region}:
        return TransientError(f"{what}: the bucket is in region {refusal.region}, not {region}: set s3_region")
    if refusal.denied:
        return AccessDenied(f"{what}: the store refuses this user: {refusal}")
    return TransientError(f"{what}: the store answers {refusal}", retry_after=refusal.retry_after)
