"""What SILO needs to know of lineages and of values in a hierarchy, fetched beside the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

import requests

from handlers.silo_staging.config import Lineages
from handlers.silo_staging.paths import write

TIMEOUT_SECONDS: Final = 60

NOTHING: Final = b"{}\n"
"""A definition without any lineage."""

_TOO_LARGE: Final = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class LineageError(RuntimeError):
    """Definitions that the data need cannot be had."""


def fetch_lineages(lineages: Lineages, versions: Sequence[int], folder: Path) -> None:
    """
    Write the definitions of all lineage systems for the version of the pipeline.

    Args:
        lineages: Where they are.
        versions: Of the records, those met first first; without any, or with 0, there are no lineages.
        folder: Gets `<system>.yaml` for each system.

    Raises:
        LineageError: No address suits the version, or nothing is to be had there.
    """
    if lineages.one_version and len(versions) > 1:
        raise LineageError(
            f"the records are of pipeline versions {sorted(versions)}, and LINEAGE_DEFINITIONS suits one"
        )
    version = versions[0] if versions else 0
    for system, addresses in lineages.systems.items():
        definition = NOTHING
        if version:
            if version not in addresses:
                raise LineageError(
                    f"LINEAGE_DEFINITIONS has no address of {system!r} for pipeline version {version}; it has some for "
                    f"{sorted(addresses)}"
                )
            definition = _answer("GET", addresses[version]).content
        write(folder / f"{system}.yaml", definition)


class Hierarchies:
    """
    The hierarchies above the values of some fields.

    Args:
        services: Addresses by field.
    """

    def __init__(self, services: Mapping[str, str]) -> None:
        self._services = services
        self._known: dict[str, tuple[str, ...]] = {}

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields."""
        return tuple(self._services)

    def fetch(self, values: Mapping[str, tuple[str, ...]], folder: Path) -> None:
        """
        Write the hierarchies of the values, unless the same values had theirs written before.

        Args:
            values: Of each field, sorted.
            folder: Gets `<field>.yaml` for each field.

        Raises:
            LineageError: A service does not answer, or refuses.
        """
        for field, service in self._services.items():
            found = values[field]
            place = folder / f"{field}.yaml"
            if self._known.get(field) == found and place.exists():
                continue
            write(place, self._ask(service, found) if found else NOTHING)
            self._known[field] = found

    @staticmethod
    def _ask(service: str, values: tuple[str, ...]) -> bytes:
        url = f"{service.rstrip('/')}/silo-lineage"
        body = {"values": list(values)}
        answer = _answer("POST", url, json=body, allowed=_TOO_LARGE)
        if answer.status_code == _TOO_LARGE:
            # The branches without any of the values are left out then.
            answer = _answer("POST", url, json=body, params={"prune": "true"})
        return answer.content


def _answer(
    method: str,
    url: str,
    *,
    json: dict[str, list[str]] | None = None,
    params: Mapping[str, str] | None = None,
    allowed: int | None = None,
) -> requests.Response:
    try:
        answer = requests.request(method, url, json=json, params=params, timeout=TIMEOUT_SECONDS)
    except requests.RequestException as error:
        raise LineageError(f"{url}: {type(error).__name__}: {error}") from error
    if answer.status_code >= HTTPStatus.BAD_REQUEST and answer.status_code != allowed:
        raise LineageError(f"{url} answers {answer.status_code} {answer.reason}: {answer.text[:500]}")
    return answer
