"""PyIceberg's way to files in S3, with certificates of one's own: PyArrow knows them and PyIceberg 0.12 does not."""

from __future__ import annotations

from typing import Any

from pyarrow.fs import S3FileSystem
from pyiceberg.io.pyarrow import PyArrowFileIO


class TrustingFiles(PyArrowFileIO):
    """Named to the catalog as `py-io-impl`; the property `s3.ca-bundle` is a file of certificates (PEM)."""

    def _initialize_s3_fs(self, netloc: str | None) -> Any:
        # What a file system pickles to are its own arguments.
        _, (options, *_) = super()._initialize_s3_fs(netloc).__reduce__()
        return S3FileSystem(**{**options, "tls_ca_file_path": self.properties["s3.ca-bundle"]})
