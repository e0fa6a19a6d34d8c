"""
Settings: `lakedrop.toml` in the home, overridden by `LAKEDROP_…` variables. Every field is described once, here.

`docs/configuration.md` is generated from these descriptions.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from consumer.settings_faults import ConfigurationError, contradictions, fault_line, readable_routes, secret_fields
from consumer.settings_routes import RouteSettings, StoreKind, default_routes

CONFIG_FILE = "lakedrop.toml"
DEFAULT_HOME = Path("lakedrop-home")


class Settings(BaseSettings):
    """Everything that can be set about a lakedrop service."""

    model_config = SettingsConfigDict(
        env_prefix="LAKEDROP_", env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    home: Path = Field(
        DEFAULT_HOME, description="Folder that holds `lakedrop.toml`, buckets, ledger, catalog, warehouse."
    )
    routes: tuple[RouteSettings, ...] = Field(
        default_factory=default_routes,
        description="Routes; the longest prefix wins, then file order. None: text files of bucket `csv-uploads`.",
    )
    store: StoreKind = Field(
        "folder", description="Where buckets are: `folder`, in the home; `s3`, in S3 or whatever speaks its language."
    )
    s3_endpoint: str | None = Field(
        None, description="Address of the store, such as `http://localhost:9000`; unset: Amazon S3."
    )
    s3_region: str | None = Field(
        None, description="Region of the buckets; unset: as AWS tools find it, `us-east-1` at an `s3_endpoint`."
    )
    s3_path_style: bool | None = Field(
        None,
        description="Buckets are named in the path, not in the host name; unset: yes at an `s3_endpoint`, else no.",
    )
    s3_ca_bundle: Path | None = Field(
        None, description="File of certificates (PEM) that vouch for the store; unset: those of the system."
    )
    s3_access_key: SecretStr | None = Field(
        None, description="Access key of the store; unset: keys are found as AWS tools find them."
    )
    s3_secret_key: SecretStr | None = Field(None, description="Secret key that belongs to `s3_access_key`.")
    broker_url: SecretStr | None = Field(
        None,
        description="RabbitMQ, `amqp://user:password@host:5672/vhost`, a vhost for each installation; unset: queues "
        "in this process, which need no durability.",
    )
    broker_management_url: str | None = Field(
        None,
        description="RabbitMQ's management, `http://host:15672`, which `lakedrop check` asks with the user of "
        "`broker_url` for policies; unset: port 15672 of its host.",
    )
    ledger_url: SecretStr | None = Field(
        None, description="PostgreSQL, `postgresql://user:password@host:5432/database`; unset: SQLite in the home."
    )
    catalog: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="PyIceberg's catalog properties: `type`, `uri`, `warehouse` and so on; those that begin with `s3.` "
        "follow from the `s3_` settings where they are not given. Empty: SQLite and files in the home.",
    )
    superset_url: str | None = Field(
        None,
        description="Superset that is to have a dataset for every table, `http://host:8088`; unset or empty: none. No "
        "file waits for it: what it was not told of it is told later.",
    )
    superset_user: str | None = Field(None, description="User of Superset, of the role Admin or Alpha.")
    superset_password: SecretStr | None = Field(None, description="Password of `superset_user`.")
    superset_database: str = Field(
        "Trino Lakehouse",
        description="Name of the database in Superset through which it reads the tables: one whose address names the "
        "same catalog, such as `trino://user@trino:8080/iceberg`.",
    )
    trino_url: str | None = Field(
        None,
        description="Trino, `http://host:8080`, that has the same catalog: counts what tables hold, answers `lakedrop "
        "query --engine trino`, and has the view `_ingest_latest`; unset: none. No file waits for it.",
    )
    trino_user: str = Field("lakedrop", description="User that Trino's access control knows this service by.")
    trino_password: SecretStr | None = Field(None, description="Password of `trino_user`; by HTTPS only.")
    trino_ca_bundle: Path | None = Field(
        None, description="File of certificates (PEM) that vouch for an `https` Trino; unset: those that Python brings."
    )
    trino_catalog: str = Field("iceberg", description="Trino's name of the catalog that `catalog` describes.")
    trino_maintains: bool = Field(
        False,
        description="Trino compacts tables that need it (`optimize`, `expire_snapshots`), instead of this process.",
    )
    catalogue_url: SecretStr | None = Field(
        None,
        description="PostgreSQL of the dataset catalogue, `postgresql://user:password@host:5432/database`; unset: "
        "SQLite in the home.",
    )
    argilla_url: str | None = Field(
        default_factory=lambda: os.environ.get("ARGILLA_API_URL") or None,
        description="Argilla, `http://host:6900`, whose datasets routes of `argilla_records` fill; unset: what "
        "`ARGILLA_API_URL` says.",
    )
    argilla_api_key: SecretStr | None = Field(
        default_factory=lambda: _secret("ARGILLA_API_KEY"),
        description="Key of a user of Argilla: an owner, or an admin in the workspaces; unset: `ARGILLA_API_KEY`.",
    )
    argilla_log: str = Field(
        "argilla.duckdb",
        description="Ingest log of Argilla: a DuckDB file, in the home unless its path is absolute, or the name of a "
        "MotherDuck database, `md:md_annotated`.",
    )
    motherduck_token: SecretStr | None = Field(
        default_factory=lambda: _secret("MD_TOKEN"), description="Token of MotherDuck; unset: what `MD_TOKEN` says."
    )
    bridge_filer: str | None = Field(
        None,
        description="Address `host:port` of the SeaweedFS filer that the bridge listens to, such as `filer:18888`.",
    )
    listen: str = Field(
        "127.0.0.1:8410", description="Address `host:port` of the status page and metrics; empty: none."
    )
    listen_token: SecretStr | None = Field(
        None, description="What a reader of the page must show; needed to `listen` beyond this machine."
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
    sweep_rate: float | None = Field(
        None,
        gt=0,
        description="Units that the sweeps of one process hand over to workers in a second, at most; unset: no limit. "
        "What events tell of does not wait for it.",
    )
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
    max_files_per_commit: int = Field(
        2000,
        ge=1,
        description="Files that one commit of a table takes at most; so many close its window early. Divided by "
        "`max_commit_latency` it is the most files a second that a table takes.",
    )
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

    @field_validator("catalog", mode="before")
    @classmethod
    def _dotted(cls, catalog: Any) -> Any:
        """TOML reads `s3.endpoint = …` as a table in a table, and knows more than text; PyIceberg takes neither."""
        return dict(_flattened(catalog)) if isinstance(catalog, Mapping) else catalog

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


def _secret(variable: str) -> SecretStr | None:
    """Return what a variable of another program says, None when it says nothing."""
    given = os.environ.get(variable)
    return SecretStr(given) if given else None


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
        routes = readable_routes(read_toml(found / CONFIG_FILE).get("routes"))
        secrets = secret_fields(Settings)
        raise ConfigurationError([fault_line(fault, secrets) for fault in error.errors()], routes=routes) from error
    except SettingsError as error:
        raise ConfigurationError([f"{error}: write it as JSON"]) from None  # its cause shows the value
    if faults := contradictions(settings):
        raise ConfigurationError(faults, routes=settings.routes)
    return settings


def _flattened(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        match value:
            case Mapping():
                yield from _flattened(value, f"{prefix}{name}.")
            case bool() | int() | float():
                yield prefix + name, str(value).lower()
            case _:
                yield prefix + name, value
