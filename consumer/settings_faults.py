"""Faults of the settings: what contradicts, and one line for each that shows no secret."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, Final, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, SecretStr, ValidationError

from consumer.settings_routes import BUCKET_RULE, RouteSettings, is_bucket_name

if TYPE_CHECKING:
    from consumer.settings import Settings

BROKER_URL: Final = "amqp://user:password@host:5672/vhost"
LEDGER_URL: Final = "postgresql://user:password@host:5432/database"

_POSTGRES: Final = ("postgresql", "postgres")

CATALOG_TYPES: Final = ("bigquery", "dynamodb", "glue", "hive", "rest", "sql")
"""What PyIceberg 0.12 knows, but for its catalog in memory, which would forget all tables."""


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


def secret_fields(model: type[BaseModel]) -> frozenset[str]:
    """Return the names of the settings whose values are never shown: they hold passwords, or may."""
    return frozenset(name for name, field in model.model_fields.items() if _is_secret(field.annotation))


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(map(_is_secret, get_args(annotation)))


def fault_line(fault: Any, secrets: Collection[str]) -> str:
    """
    Say what is wrong with one value.

    Args:
        fault: One of pydantic's `errors()`.
        secrets: Settings whose values are not shown.
    """
    place = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return f"{place}: unknown setting (docs/configuration.md lists all)"
    if fault["type"] == "missing":
        return f"{place}: missing"
    if place == "routes" and isinstance(fault["input"], dict):
        return "[routes]: write [[routes]], in two pairs of brackets: each such table is one route"
    if fault["loc"] and fault["loc"][0] in secrets:
        return f"{place}: {message}"
    return f"{place} = {fault['input']!r}: {message}"


def readable_routes(tables: Any) -> tuple[RouteSettings, ...]:
    """Return the routes that could be used if they held no unknown settings."""
    routes = []
    for table in tables if isinstance(tables, list) else ():
        with contextlib.suppress(ValidationError, AttributeError):  # not a table at all
            known = {name: value for name, value in table.items() if name in RouteSettings.model_fields}
            routes.append(RouteSettings(**known))
    return tuple(routes)


def contradictions(settings: Settings) -> list[str]:
    """Return one line for each value that is well-formed but cannot be used, alone or beside the others."""
    return [
        *_general_faults(settings),
        *_bucket_faults(settings),
        *_store_faults(settings),
        *_server_faults(settings),
        *_catalog_faults(settings),
        *_superset_faults(settings),
        *_trino_faults(settings),
        *_argilla_faults(settings),
        *_page_faults(settings),
    ]


def _general_faults(settings: Settings) -> Iterator[str]:
    if settings.heartbeat_seconds >= settings.lease_seconds:
        yield f"heartbeat_seconds = {settings.heartbeat_seconds:g}: must be below lease_seconds"
    home = str(settings.home.resolve())
    if re.search(r"[?#]|%[0-9A-Fa-f]{2}", home):
        # SQLAlchemy and PyIceberg take these for parts of a URL: catalog and warehouse would be made outside the home.
        yield f"home = {home!r}: must not hold '?', '#' or '%20'; rename the folder"


def _bucket_faults(settings: Settings) -> Iterator[str]:
    given = "routes" in settings.model_fields_set
    for number, route in enumerate(settings.routes):
        if not is_bucket_name(route.bucket, settings.store):
            place = f"routes.{number}.bucket" if given else "bucket"
            yield f"{place} = {route.bucket!r}: {BUCKET_RULE[settings.store]}"


def _store_faults(settings: Settings) -> Iterator[str]:
    if (settings.s3_access_key is None) != (settings.s3_secret_key is None):
        there, missing = ("s3_access_key", "s3_secret_key")[:: 1 if settings.s3_access_key else -1]
        yield f"{missing}: missing; {there} is set. Without both, keys are looked for as AWS tools do"
    if settings.s3_endpoint is not None:
        instead = "keys; set s3_access_key and s3_secret_key"
        yield from _http_faults("s3_endpoint", settings.s3_endpoint, "http://host:9000 or https://host", instead)
    bundle = settings.s3_ca_bundle
    if bundle is not None and not bundle.is_file():
        yield f"s3_ca_bundle = {str(bundle)!r}: no such file"


def _server_faults(settings: Settings) -> Iterator[str]:
    if settings.broker_url is not None:
        url = parsed(settings.broker_url.get_secret_value())
        if url is None or url.scheme not in ("amqp", "amqps"):
            yield f"broker_url: not a URL of RabbitMQ; write {BROKER_URL}, with %40 for @, %2F for / in its parts"
    if settings.broker_management_url is not None:
        yield from _http_faults("broker_management_url", settings.broker_management_url, "http://host:15672")
    for name in ("ledger_url", "catalogue_url"):
        given: SecretStr | None = getattr(settings, name)
        url = None if given is None else parsed(given.get_secret_value())
        if given is not None and (url is None or url.scheme not in _POSTGRES or not url.path.strip("/")):
            yield f"{name}: not a URL of PostgreSQL; write {LEDGER_URL}, with %40 for @, %2F for / in its parts"


def _catalog_faults(settings: Settings) -> Iterator[str]:
    catalog = settings.catalog
    if not catalog:
        return
    kind = catalog["type"].get_secret_value() if "type" in catalog else None
    if kind is None:
        yield f"catalog.type: missing; there are: {', '.join(CATALOG_TYPES)}"
    elif kind not in CATALOG_TYPES:
        yield f"catalog.type = {kind!r}: unknown; there are: {', '.join(CATALOG_TYPES)}"
    if kind in ("rest", "sql", "hive") and "uri" not in catalog:
        yield "catalog.uri: missing"
    if kind == "sql" and "warehouse" not in catalog:
        yield "catalog.warehouse: missing; the place of the tables, such as s3://lakehouse-warehouse/"


def _superset_faults(settings: Settings) -> Iterator[str]:
    if not settings.superset_url:
        return
    instead = "a password; set superset_user and superset_password"
    yield from _http_faults("superset_url", settings.superset_url, "http://host:8088", instead, below=True)
    for name in ("superset_user", "superset_password"):
        if getattr(settings, name) is None:
            yield f"{name}: missing; superset_url is set"


def _trino_faults(settings: Settings) -> Iterator[str]:
    if not settings.trino_url:
        if settings.trino_maintains:
            yield "trino_url: missing; trino_maintains is set"
        return
    bundle = settings.trino_ca_bundle
    if bundle is not None and not bundle.is_file():
        yield f"trino_ca_bundle = {str(bundle)!r}: no such file"
    instead = "a password; set trino_user and trino_password"
    if faults := list(_http_faults("trino_url", settings.trino_url, "http://host:8080 or https://host", instead)):
        yield from faults
    elif settings.trino_password is not None and urlsplit(settings.trino_url).scheme == "http":
        yield "trino_password: Trino takes passwords by HTTPS only; write trino_url = 'https://...'"
    elif not settings.catalog:
        yield "trino_url: Trino cannot share the catalog of a home; set `catalog`"


def _argilla_faults(settings: Settings) -> Iterator[str]:
    if settings.argilla_url:
        instead = "a key; set argilla_api_key"
        yield from _http_faults("argilla_url", settings.argilla_url, "http://host:6900", instead, below=True)
    if settings.argilla_log.startswith("md:") and settings.motherduck_token is None:
        yield "motherduck_token: missing; argilla_log is in MotherDuck"
    if not any(route.handler == "argilla_records" for route in settings.routes):
        return
    for name, variable in (("argilla_url", "ARGILLA_API_URL"), ("argilla_api_key", "ARGILLA_API_KEY")):
        if not getattr(settings, name):
            yield f"{name}: missing; a route has the handler argilla_records. Set it, or {variable}"


def _http_faults(name: str, address: str, form: str, instead: str = "", *, below: bool = False) -> Iterator[str]:
    """
    Yield what is wrong with the address of a server that is asked by HTTP, one line at most.

    Args:
        name: Of the setting.
        address: Its value.
        form: How such an address is written.
        instead: What it must not hold, and where that belongs; empty: it may hold all that such addresses do.
        below: The server may be asked below a path.
    """
    url = parsed(address)
    if url is None or url.scheme not in ("http", "https"):
        yield f"{name}: not a URL; write {form}"
    elif instead and (url.username is not None or url.password is not None):
        yield f"{name}: must not hold {instead}"
    elif instead and not below and (url.path.strip("/") or url.query or url.fragment):
        yield f"{name} = {address!r}: must end after host and port"


def _page_faults(settings: Settings) -> Iterator[str]:
    if not settings.listen:
        return
    host = listen_address(settings.listen)
    if host is None:
        yield f"listen = {settings.listen!r}: write host:port, such as 127.0.0.1:8410"
    elif settings.listen_token is None and not is_loopback(host[0]):
        yield f"listen = {settings.listen!r}: others could read the page: set listen_token, or listen on 127.0.0.1"


def listen_address(listen: str) -> tuple[str, int] | None:
    """Return host and port of `host:port` or `[host]:port`; None when it is neither."""
    url = parsed(f"//{listen}")
    if url is None or url.port is None or url.username is not None or url.path or url.query or url.fragment:
        return None
    return url.hostname or "", url.port


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parsed(text: str) -> SplitResult | None:
    """Split a URL; None when it has no host, or a port that is no number, or cannot be split."""
    try:
        url = urlsplit(text)
        url.port  # noqa: B018 (raises when it is no number)
    except ValueError:
        return None
    return url if url.hostname and not re.search(r"\s", text) else None
