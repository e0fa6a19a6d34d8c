"""The released data, as the backend sends them: `GET <backend>/get-released-data?compression=zstd`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import requests
import urllib3.exceptions

NO_ETAG: Final = "0"
"""Stands for the ETag of nothing: all is wanted."""

TIMEOUT_SECONDS: Final = 300
"""That the backend may be silent: before it answers, and between two pieces of the data."""

_CHUNK: Final = 1 << 20


class DownloadError(RuntimeError):
    """The backend did not send the data."""


@dataclass(frozen=True, slots=True)
class Released:
    """What the backend said of the data it sent."""

    etag: str
    """As it came, `W/` and quotes included."""
    total: int | None
    """Records there are; None when it did not say. It may count fewer than it sends, while some are being released."""


class Backend:
    """
    The backend of one organism.

    Args:
        address: Without a slash at its end.
        timeout: Seconds it may be silent.
    """

    def __init__(self, address: str, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self.url = f"{address}/get-released-data"
        self._timeout = timeout

    def download(self, place: Path, etag: str = NO_ETAG) -> Released | None:
        """
        Store the data as they come, compressed.

        Args:
            place: The file.
            etag: Of the data that are there already.

        Returns:
            None when those are the newest.

        Raises:
            DownloadError: The backend does not answer, refuses, breaks off, or does not say which version it sent.
        """
        headers = {} if etag == NO_ETAG else {"If-None-Match": etag}
        try:
            with requests.get(
                self.url, params={"compression": "zstd"}, headers=headers, timeout=self._timeout, stream=True
            ) as answer:
                return self._store(answer, place)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise DownloadError(f"{self.url}: {type(error).__name__}: {error}") from error

    def _store(self, answer: requests.Response, place: Path) -> Released | None:
        if answer.status_code == HTTPStatus.NOT_MODIFIED:
            return None
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            said = answer.raw.read(500, decode_content=True).decode(errors="replace")
            raise DownloadError(f"{self.url} answers {answer.status_code} {answer.reason}: {said}")
        etag = answer.headers.get("ETag")
        if not etag:
            raise DownloadError(f"{self.url} sent data without an ETag: nobody could tell whether they changed")
        with place.open("wb") as file:
            # `Content-Encoding: zstd` is not undone: the file is to be compressed, and nothing is gained by doing so.
            answer.raw.decode_content = False
            shutil.copyfileobj(answer.raw, file, _CHUNK)
        total = answer.headers.get("x-total-records", "")
        return Released(etag, int(total) if total.isascii() and total.isdigit() else None)
