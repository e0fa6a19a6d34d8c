"""What the importer is told by its environment; names and defaults are those of Loculus's `silo-import`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeVar, cast, get_args

from handlers.silo_staging.paths import is_name

T = TypeVar("T")

Coordination = Literal["sentinels", "direct"]

ONE_SYSTEM: Final = "lineage_definitions"
"""File of the lineages where there is one system without a name."""


class ConfigurationError(RuntimeError):
    """One line per fault of the environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineages:
    """Where the definitions of lineages are, for each version of the pipeline that assigned them."""

    systems: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """Addresses by name of the lineage system, which is the name of its file, and version of the pipeline."""
    one_version: bool = False
    """Records of two versions are an error: one definition cannot suit both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of one importer, which imports one organism."""

    backend: str
    """Address of the backend, without a slash at its end."""
    root: Path = Path("/")
    lineages: Lineages = field(default_factory=Lineages)
    hierarchical_filters: Mapping[str, str] = field(default_factory=dict)
    """Addresses of services that know the hierarchy above values, by field of the metadata."""
    hard_refresh_seconds: float = 3600
    """How often everything is downloaded again, whatever the backend says of changes."""
    poll_seconds: float = 30
    silo_timeout_seconds: float = 3600
    coordination: Coordination = "sentinels"
    """Who runs SILO: somebody who watches for sentinel files, or this process."""
    silo: Path = Path("/usr/local/bin/silo")
    preprocessing_config: Path = Path("/app/preprocessing_config.yaml")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Config:
        """
        Read the settings.

        Raises:
            ConfigurationError: Some are missing or wrong; all of them are named.
        """
        faults: list[str] = []

        def read(name: str, parse: Callable[[str], T], default: T) -> T:
            text = environment.get(name, "").strip()
            if not text:
                return default
            try:
                return parse(text)
            except ValueError as error:
                faults.append(f"{name} = {text!r}: {error}")
                return default

        backend = environment.get("BACKEND_BASE_URL", "").strip().rstrip("/")
        if not backend:
            faults.append("BACKEND_BASE_URL is not set: the address of the backend, such as http://backend:8079/ebola")
        config = cls(
            backend=backend,
            root=read("ROOT_DIR", Path, Path("/")),
            lineages=read("LINEAGE_DEFINITIONS", lineages, Lineages()),
            hierarchical_filters=read("HIERARCHICAL_FILTERS", _addresses, {}),
            hard_refresh_seconds=read("HARD_REFRESH_INTERVAL", _seconds, 3600.0),
            poll_seconds=read("SILO_IMPORT_POLL_INTERVAL_SECONDS", _seconds, 30.0),
            silo_timeout_seconds=read("SILO_RUN_TIMEOUT_SECONDS", _seconds, 3600.0),
            coordination=read("SILO_IMPORT_COORDINATION", _coordination, "sentinels"),
            silo=read("PATH_TO_SILO_BINARY", Path, Path("/usr/local/bin/silo")),
            preprocessing_config=read("PREPROCESSING_CONFIG", Path, Path("/app/preprocessing_config.yaml")),
        )
        if faults:
            raise ConfigurationError("\n".join(faults))
        return config


def lineages(text: str) -> Lineages:
    """
    Read `LINEAGE_DEFINITIONS`, in either shape that Loculus has had.

    Args:
        text: JSON: `{system: {version: address}}`, or of one system without a name `{version: address}`. For that one
            all records must be of one version, as they had to be while it was in use.

    Raises:
        ValueError: It is neither.
    """
    given = _object(text)
    unnamed = bool(given) and all(isinstance(value, str) for value in given.values())
    systems = {ONE_SYSTEM: given} if unnamed else given
    found = {}
    for system, versions in systems.items():
        if not isinstance(versions, dict) or not all(isinstance(address, str) for address in versions.values()):
            raise ValueError(f"{system!r} must be an object of addresses by version of the pipeline")
        if not is_name(system):
            raise ValueError(f"{system!r} cannot be the name of a file")
        try:
            found[system] = {int(version): address for version, address in versions.items()}
        except ValueError:
            raise ValueError(f"{system!r}: versions of the pipeline are whole numbers: {list(versions)}") from None
    return Lineages(systems=found, one_version=unnamed)


def _addresses(text: str) -> Mapping[str, str]:
    given = _object(text)
    found = {}
    for name, address in given.items():
        if not isinstance(address, str) or not is_name(name):
            raise ValueError(f"{name!r} must be a field of the metadata, with the address of its service")
        found[name] = address
    return found


def _object(text: str) -> dict[str, object]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(given, dict):
        raise ValueError("must be a JSON object")  # noqa: TRY004 (the type of what a text holds)
    return given


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError("must be a number of seconds") from None
    if not 0 < seconds < float("inf"):
        raise ValueError("must be a number of seconds above 0")
    return seconds


def _coordination(text: str) -> Coordination:
    if text in get_args(Coordination):
        return cast("Coordination", text)
    raise ValueError("must be sentinels (somebody else runs SILO) or direct (this process does)")
