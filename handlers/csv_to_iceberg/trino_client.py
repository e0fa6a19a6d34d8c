"""
Trino through its own Python client, which is synchronous: statements run in threads (decision 44).

The client is imported where it is first used: most processes have no Trino, and need not wait for it to be loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from handlers.contract import PermanentError, TransientError
from handlers.csv_to_iceberg.lake.reader import literal
from handlers.csv_to_iceberg.lake.rewrite import CalledOff

if TYPE_CHECKING:
    from trino.dbapi import Connection

TIMEOUT: Final = (5.0, 30.0)
"""Seconds to connect and to wait for an answer. Trino answers after about a second, with or without rows."""

ATTEMPTS: Final = 3
"""How often a request is sent whose answer is 429, 502, 503, 504 or none, some 0.7 s in all if it comes at once."""

SOURCE: Final = "lakedrop"
"""What Trino's list of queries and its resource groups know our statements by: their source, and a tag."""

REFUSED: Final = ("error 401", "error 403")
"""How messages of the client begin for these answers; it tells no status otherwise."""


class TrinoSettings(BaseModel):
    """Where Trino is, and what it is asked to do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="Such as `http://trino:8080`; ends after host and port.")
    user: str = Field(default="lakedrop", description="Whom its access control and its list of queries know us by.")
    password: SecretStr | None = Field(default=None, description="Of that user; Trino takes one by HTTPS only.")
    ca_bundle: Path | None = Field(default=None, description="Certificates (PEM) that vouch for an https server.")
    catalog: str = Field(default="iceberg", description="Its name of the catalog that our tables are in.")
    maintains: bool = Field(default=False, description="Whether it compacts tables instead of this process.")


class TrinoAway(TransientError):
    """Trino does not answer."""


class TrinoFailed(TransientError):
    """Trino could not finish a statement that it may finish later."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name
        """As Trino has it."""


class TrinoRefused(PermanentError):
    """Trino refuses the statement or its user."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name
        """As Trino has it, such as `TABLE_NOT_FOUND`."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result."""

    name: str
    type: str
    """In Trino's words."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a statement returned."""

    columns: tuple[Column, ...]
    rows: list[list[Any]]
    """Values as Trino writes them in JSON: dates, times and decimals are text."""


class TrinoClient:
    """
    Runs statements, one at a time. All methods block; any thread may call them.

    Args:
        settings: Where it is.
    """

    def __init__(self, settings: TrinoSettings) -> None:
        self.settings = settings

    def run(self, sql: str, *, schema: str | None = None, called_off: Callable[[], bool] = lambda: False) -> Result:
        """
        Run a statement to its end. It may run twice, when the answer to its first request is lost.

        Args:
            sql: Without a semicolon at its end.
            schema: Where tables without one are looked for.
            called_off: Asked with each answer; once it says so the statement is ended.

        Raises:
            TrinoAway: It does not answer, or stopped doing so.
            TrinoFailed: It could not do it; trying again may help.
            TrinoRefused: The statement is wrong, or not allowed.
            CalledOff: See `called_off`.
        """

        def go_on(_: object) -> None:
            if called_off():
                raise CalledOff

        with self._told(), closing(self._connection(schema)) as connection:
            cursor = connection.cursor(stats_callback=go_on)
            try:
                rows = cursor.execute(sql).fetchall()
            except CalledOff:
                cursor.cancel()
                raise
            return Result(tuple(Column(name, kind) for name, kind, *_ in cursor.description or ()), rows)

    def ping(self) -> str:
        """Return the version of the server. Raises as `run` does, also while the catalog is missing."""
        catalog = self.settings.catalog
        found = self.run(
            "SELECT version(), count_if(catalog_name = "  # noqa: S608  # quoted
            f"{literal(catalog)}) FROM system.metadata.catalogs GROUP BY 1"
        )
        version, there = found.rows[0]
        if not there:
            message = f"Trino at {self.settings.url} has no catalog {catalog!r}: name one of its own in `trino_catalog`"
            raise TrinoRefused(message, "CATALOG_NOT_FOUND")
        return str(version)

    def _connection(self, schema: str | None) -> Connection:
        from trino.auth import BasicAuthentication  # noqa: PLC0415
        from trino.dbapi import Connection  # noqa: PLC0415

        session = requests.Session()
        session.trust_env = False  # proxies and .netrc of the machine are none of ours
        given, password, url = self.settings, self.settings.password, urlsplit(self.settings.url)
        if given.ca_bundle is not None:
            session.verify = str(given.ca_bundle)
        return Connection(
            # As it stands in the address: the client takes the brackets off IPv6 if it is given all of it.
            host=url.netloc.removesuffix(f":{url.port}"),
            port=url.port,
            http_scheme=url.scheme,
            user=given.user,
            auth=None if password is None else BasicAuthentication(given.user, password.get_secret_value()),
            catalog=given.catalog,
            schema=schema,
            source=SOURCE,
            client_tags=[SOURCE],
            timezone="UTC",
            max_attempts=ATTEMPTS,
            request_timeout=TIMEOUT,
            http_session=session,
            legacy_primitive_types=True,  # values as in JSON: Python has no year 10000 and no picoseconds
            # Rows come from Trino itself: from a store they would be fetched without a timeout.
            encoding=None,  # type: ignore[arg-type]  # its documentation has it, its type hint does not
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Have the client's errors told as ours."""
        from trino import exceptions as trino  # noqa: PLC0415

        place, user = self.settings.url, self.settings.user
        try:
            yield
        except trino.TrinoQueryError as error:
            name = error.error_name or ""
            kind = TrinoRefused if isinstance(error, trino.TrinoUserError) else TrinoFailed
            raise kind(f"Trino: {error.message} ({name})", name) from error
        # Python's own come of answers that are not Trino's, or of a bundle that cannot be read. Of an HTTP error, the
        # whole page is in the message.
        except (trino.Error, trino.HttpError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if _is_about_trust(error.__context__ if isinstance(error, trino.Error) else error):
                raise TrinoAway(f"Trino at {place} cannot be trusted: {error!s:.300}: set `trino_ca_bundle`") from error
            if isinstance(error, trino.TrinoAuthError) or str(error).startswith(REFUSED):
                raise TrinoRefused(
                    f"Trino at {place} refuses user {user} ({error!s:.200}): set `trino_user` and `trino_password`",
                    "PERMISSION_DENIED",
                ) from error
            raise TrinoAway(f"Trino at {place} does not answer: {error!s:.200}") from error


def _is_about_trust(cause: BaseException | None) -> bool:
    """Tell whether nobody vouches for the server, or what is to vouch cannot be read."""
    if isinstance(cause, requests.exceptions.RequestException):
        return isinstance(cause, requests.exceptions.SSLError)
    return isinstance(cause, OSError)
