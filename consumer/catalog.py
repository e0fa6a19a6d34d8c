"""The Iceberg catalog as the settings name it, in PyIceberg's own words; and where its tables may not lie."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, Protocol
from urllib.parse import urlsplit

from consumer.settings import Settings

S3_SCHEMES: Final = ("s3://", "s3a://", "s3n://")
"""What the same place is called by different engines."""

TRUSTING_FILES: Final = "handlers.csv_to_iceberg.lake.trusting_files.TrustingFiles"

POSTGRES: Final = re.compile(r"^postgres(ql(\+psycopg2)?)?://")
"""A database; without the driver that is installed SQLAlchemy 2.1 would look for another."""

WATCH: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "30000",
}
"""
Parameters of libpq (PostgreSQL, "Parameter Key Words"), in seconds, the last in milliseconds.

A database that vanished without a word is noticed within a lease. By itself Linux sends on for a quarter of an hour
and waits for an answer for two hours and more; all commits would wait with it.
"""

DEFAULT_REGION: Final = "us-east-1"
"""Without a region PyIceberg would ask Amazon for that of the bucket, also where the store is another's."""


class Routed(Protocol):
    """What of a route says which objects it takes."""

    @property
    def name(self) -> str: ...  # noqa: D102 (as `Route` says)
    @property
    def bucket(self) -> str: ...  # noqa: D102
    @property
    def prefix(self) -> str: ...  # noqa: D102


def catalog_properties(settings: Settings) -> dict[str, str]:
    """
    Return the properties of the catalog, secrets in plain text; nothing for the one in the home.

    How files are reached follows from the settings of the store where `catalog` itself does not say. Keys that neither
    names are looked for in the same places: environment, profile, container, instance.
    """
    given = {name: value.get_secret_value() for name, value in settings.catalog.items()}
    if not given:
        return {}
    if POSTGRES.match(given.get("uri", "")):
        given["uri"] = _watched(POSTGRES.sub("postgresql+psycopg2://", given["uri"], count=1))
    return {**_defaults(settings, given), **given}


def _watched(uri: str) -> str:
    """Return a database's address that says how its connections are watched, where it does not say so itself."""
    parts = urlsplit(uri)
    named = {word.partition("=")[0] for word in parts.query.split("&")}
    added = [f"{name}={value}" for name, value in WATCH.items() if name not in named]
    return parts._replace(query="&".join([parts.query, *added] if parts.query else added)).geturl()


def _defaults(settings: Settings, given: dict[str, str]) -> dict[str, str]:
    found = {
        "s3.endpoint": settings.s3_endpoint,
        "s3.region": settings.s3_region or (DEFAULT_REGION if settings.s3_endpoint else None),
        "s3.force-virtual-addressing": "true" if settings.s3_path_style is False else None,
        # A connection that the database dropped, as by its restart, is found dead before it is used.
        "pool_pre_ping": "true" if given.get("type") == "sql" else None,
    }
    if settings.s3_access_key is not None and settings.s3_secret_key is not None:
        found["s3.access-key-id"] = settings.s3_access_key.get_secret_value()
        found["s3.secret-access-key"] = settings.s3_secret_key.get_secret_value()
    if settings.s3_ca_bundle is not None:
        found["py-io-impl"] = TRUSTING_FILES
        found["s3.ca-bundle"] = str(settings.s3_ca_bundle)
    return {name: value for name, value in found.items() if value is not None}


def warehouse_faults(settings: Settings, routes: Iterable[Routed], told: str | None = None) -> Iterator[str]:
    """
    Yield a line for each route whose objects lie where the tables do: it would take the lake's own files for uploads.

    Args:
        settings: Where the buckets are, and what of the warehouse.
        routes: Those to be compared.
        told: What the catalog itself says; None: what the settings say, if that is a location and no mere name.
    """
    named = settings.catalog.get("warehouse")
    location = told if told is not None else "" if named is None else named.get_secret_value()
    warehouse = _place(location)
    if warehouse is None:
        return
    for route in routes:
        here = f"s3://{route.bucket}/" if settings.store == "s3" else f"{settings.buckets.resolve()}/{route.bucket}/"
        objects = here + route.prefix
        if objects.startswith(warehouse) or warehouse.startswith(objects):
            taken = f"{route.bucket}/{route.prefix}"
            yield (
                f"route {route.name}: the objects of {taken} and the catalog's warehouse "
                f"{location} lie in one place: give the warehouse a bucket of its own"
            )


def _place(location: str) -> str | None:
    """Return a location in one form, ending in a slash; None when it is but a name."""
    for scheme in S3_SCHEMES:
        if location.startswith(scheme):
            return "s3://" + location.removeprefix(scheme).rstrip("/") + "/"
    path = location.removeprefix("file://")
    return path.rstrip("/") + "/" if path.startswith("/") else None
