"""
Settings: `lakedrop.toml` in the home, overridden by `LAKEDROP_…` variables. Every field is described once, here.

`docs/configuration.md` is generated from these descriptions.
"""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from consumer.folder_walk import is_listed, is_utf8

CONFIG_FILE = "lakedrop.toml"
DEFAULT_HOME = Path("lakedrop-home")


class ConfigurationError(Exception):
    """
    The settings cannot be used; `faults` holds one line per fault.

    Args:
        routes: Routes that are readable all the same: their options may hold further faults.
    """

    def __init__(self, faults: list[str], *, routes: tuple[RouteSettings, ...] = ()) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults
        self.routes = routes


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

    @field_validator("bucket")
    @classmethod
    def _is_a_name(cls, bucket: str) -> str:
        if not is_utf8(bucket) or not is_listed(bucket.encode()):
            raise ValueError(
                "a bucket is the name of a folder: no slash, no dot at its beginning, no .part or .tmp end"
            )
        return bucket


def default_routes() -> tuple[RouteSettings, ...]:
    """Return the one route of a home without `[[routes]]`: CSV files of the bucket `S3_INGEST_BUCKET`."""
    return (RouteSettings(name="csv", bucket=os.environ.get("S3_INGEST_BUCKET") or "csv-uploads"),)


class Settings(BaseSettings):
    """Everything that can be set about a lakedrop service."""

    model_config = SettingsConfigDict(env_prefix="LAKEDROP_", extra="forbid", frozen=True)

    home: Path = Field(
        DEFAULT_HOME, description="Folder that holds `lakedrop.toml`, buckets, ledger, catalog, warehouse."
    )
    routes: tuple[RouteSettings, ...] = Field(
        default_factory=default_routes,
        description="Routes; the longest prefix wins, then file order. None: text files of bucket `csv-uploads`.",
    )
    lease_seconds: float = Field(30.0, gt=0, description="How long a claim holds without a heartbeat.")
    heartbeat_seconds: float = Field(
        10.0, gt=0, description="How often held claims are extended; below `lease_seconds`."
    )
    grace_seconds: float = Field(
        300.0,
        gt=0,
        description="How long a write of an earlier holder is believed possible at sinks without compare-and-swap.",
    )
    waker_seconds: float = Field(2.0, gt=0, description="How often due retries and expired leases are looked for.")
    sweep_seconds: float = Field(300.0, gt=0, description="How often buckets are compared with the ledger.")
    retry_delays: tuple[float, ...] = Field(
        (5.0, 30.0, 120.0, 600.0, 3600.0),
        description="Seconds before each further attempt; a unit fails after one attempt more than there are delays.",
    )
    drain_seconds: float = Field(30.0, ge=0, description="How long a stopping service waits for work under way.")
    max_vanish_units: int = Field(
        100,
        ge=0,
        description="A sweep that finds more units vanished than this and than `max_vanish_share` withholds them.",
    )
    max_vanish_share: float = Field(0.05, ge=0, le=1, description="See `max_vanish_units`; share of the known units.")
    history_days: float = Field(90.0, gt=0, description="How long the timeline of a unit is kept.")
    max_commit_latency: float = Field(
        1.0,
        gt=0,
        description="Seconds a table's commit window stays open; under load a table gets one commit per window.",
    )
    max_files_per_commit: int = Field(2000, ge=1, description="A commit window closes early at this many files.")
    small_file_bytes: int = Field(
        1 << 20,
        ge=0,
        description="CSV files up to this size are ingested together, larger ones are streamed one by one.",
    )
    maintenance_seconds: float = Field(60.0, gt=0, description="How often tables are looked after.")
    snapshots_kept: int = Field(
        10, ge=1, description="Snapshots of a table that are kept when others expire, which is after every 20 commits."
    )
    compact_small_files: int = Field(
        100, ge=2, description="Data files under 32 MiB that a table may have before the smallest are joined."
    )
    compact_deleted_share: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Share of a table's rows that may be deleted before files are rewritten without them.",
    )
    compact_delete_files: float = Field(
        2.0, gt=0, description="Delete files for each data file of a table before those of one data file are merged."
    )
    compact_bytes: int = Field(
        256 << 20, ge=1, description="Bytes of data files that one run of compaction rewrites, at most."
    )
    unreferenced_seconds: float = Field(
        3600.0,
        ge=1200,
        description="How long files that no snapshot needs any more are kept for readers that planned with them.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto",
        description="`console` for people, `json` for machines; `auto` looks whether standard error is a terminal.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: command line, environment, then `lakedrop.toml` of the home they name."""
        del dotenv_settings, file_secret_settings
        given = {**env_settings(), **init_settings()}
        home = Path(given.get("home") or DEFAULT_HOME)
        return init_settings, env_settings, InitSettingsSource(settings_cls, dict(read_toml(home / CONFIG_FILE)))

    @property
    def buckets(self) -> Path:
        """Folder whose sub-folders are the buckets."""
        return self.home / "buckets"


def read_toml(path: Path) -> Mapping[str, Any]:
    """
    Return the content of a configuration file, nothing when there is none.

    Raises:
        ConfigurationError: The file is not TOML; the message names line and column.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: not TOML: {error}"]) from error


def load_settings(home: Path | None = None) -> Settings:
    """
    Read the settings of a home.

    Raises:
        ConfigurationError: With one line per fault, naming where it stands and what was given.
    """
    try:
        settings = Settings() if home is None else Settings(home=home)
    except ValidationError as error:
        found = home or Path(os.environ.get("LAKEDROP_HOME") or DEFAULT_HOME)
        routes = _readable_routes(read_toml(found / CONFIG_FILE).get("routes"))
        raise ConfigurationError([_fault(fault) for fault in error.errors()], routes=routes) from error
    if settings.heartbeat_seconds >= settings.lease_seconds:
        fault = f"heartbeat_seconds = {settings.heartbeat_seconds:g}: must be below lease_seconds"
        raise ConfigurationError([fault], routes=settings.routes)
    if re.search(r"[?#]|%[0-9A-Fa-f]{2}", str(settings.home.resolve())):
        # SQLAlchemy and PyIceberg take these for parts of a URL: catalog and warehouse would be made outside the home.
        fault = f"home = {str(settings.home.resolve())!r}: must not hold '?', '#' or '%20'; rename the folder"
        raise ConfigurationError([fault], routes=settings.routes)
    return settings


def _readable_routes(tables: Any) -> tuple[RouteSettings, ...]:
    """Return the routes that could be used if they held no unknown settings."""
    routes = []
    for table in tables if isinstance(tables, list) else ():
        with contextlib.suppress(ValidationError, AttributeError):  # not a table at all
            known = {name: value for name, value in table.items() if name in RouteSettings.model_fields}
            routes.append(RouteSettings(**known))
    return tuple(routes)


def _fault(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{place}: unknown setting (docs/configuration.md lists all)"
    if fault["type"] == "missing":
        return f"{place}: missing"
    if place == "routes" and isinstance(fault["input"], dict):
        return "[routes]: write [[routes]], in two pairs of brackets: each such table is one route"
    return f"{place} = {fault['input']!r}: {fault['msg'].removeprefix('Value error, ')}"
