"""Settings of a route, and what may be the name of a bucket."""

from __future__ import annotations

import os
import re
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from consumer.folder_walk import is_listed, is_utf8

StoreKind = Literal["folder", "s3"]

BUCKET_RULE: Final = {
    "folder": "a bucket is the name of a folder: no slash, no dot at its beginning, no .part or .tmp end",
    "s3": "a bucket is 3 to 63 lower-case letters, digits, dots and hyphens, with a letter or digit at both ends",
}

_S3_BUCKET: Final = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""Amazon S3 user guide, "General purpose bucket naming rules"; MinIO and versitygw refuse the same."""


class RouteSettings(BaseModel):
    """One `[[routes]]` table: which objects go to which handler."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of the route, used in logs and reports.")
    bucket: str = Field(min_length=1, description="Bucket whose objects this route takes.")
    prefix: str = Field("", description="Keys must begin with this; empty takes the whole bucket.")
    match: tuple[str, ...] | None = Field(
        None,
        description="Globs on the rest of the key after `prefix`; unset takes the handler's own (CSV: text files).",
    )
    handler: str = Field("csv_to_iceberg", description="Handler that takes the objects.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the handler for this route.")
    queue: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        description="Name of queues of its own, `lakedrop.work.<queue>` and so on, so that the route waits for no "
        "other; routes of one handler may share them. Unset: those of the handler.",
    )
    sweep_seconds: float | None = Field(
        None, gt=0, description="How often this route is compared with the ledger; unset: the setting of that name."
    )
    shards: int = Field(1, ge=1, le=64, description="Key ranges that a sweep of this route lists at once.")


def default_routes() -> tuple[RouteSettings, ...]:
    """
    Return the routes of a home without `[[routes]]`: CSV files of the bucket `S3_INGEST_BUCKET`.

    `INPUT_PREFIX`, as the CronJob of Argilla's autoload has it, is a route of its own; without the other variable it is
    the only one.
    """
    bucket = os.environ.get("S3_INGEST_BUCKET")
    place = place_of(os.environ.get("INPUT_PREFIX"))
    if place is None:
        return (RouteSettings(name="csv", bucket=bucket or "csv-uploads"),)
    argilla = RouteSettings(name="argilla", bucket=place[0], prefix=place[1], handler="argilla_records")
    return (RouteSettings(name="csv", bucket=bucket), argilla) if bucket else (argilla,)


def place_of(address: str | None) -> tuple[str, str] | None:
    """Return bucket and prefix of `s3://bucket/prefix/`; None of anything else."""
    parts = urlsplit(address or "")
    if parts.scheme != "s3" or not parts.netloc:
        return None
    return parts.netloc, f"{parts.path.strip('/')}/".removeprefix("/")


def is_bucket_name(bucket: str, store: StoreKind) -> bool:
    """Tell whether a bucket of this name can be in a store of this kind."""
    if store == "s3":
        return _S3_BUCKET.fullmatch(bucket) is not None
    return is_utf8(bucket) and is_listed(bucket.encode())
