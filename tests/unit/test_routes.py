"""Routes that lead to the same place are refused, by every handler in its own words."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.kinds import BUILTIN
from consumer.routes import Processed, build_router
from consumer.settings import Settings
from consumer.settings_faults import ConfigurationError
from consumer.settings_routes import RouteSettings


def router_of(handler: str, *routes: tuple[str, str, dict[str, Any]]) -> None:
    """Build the router of routes, given by name, bucket and options."""
    given = [
        RouteSettings(name=name, bucket=bucket, prefix=f"{name}/", handler=handler, options=options)
        for name, bucket, options in routes
    ]
    build_router(Settings.model_construct(routes=tuple(given)), BUILTIN)


def test_tables_of_two_buckets_need_two_namespaces() -> None:
    with pytest.raises(ConfigurationError) as caught:
        router_of("csv_to_iceberg", ("one", "a", {}), ("two", "a", {}), ("three", "b", {}), ("four", "b", {}))

    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["routes one and three", "routes one and four"]
    assert "buckets a and b share the namespace 'lakehouse'" in caught.value.faults[0]
    router_of("csv_to_iceberg", ("one", "a", {}), ("two", "b", {"namespace": "other"}))


def test_two_routes_of_silo_need_two_staging_areas() -> None:
    with pytest.raises(ConfigurationError) as caught:
        router_of("silo_staging", ("one", "a", {}), ("two", "a", {"root": "/elsewhere"}), ("three", "a", {}))

    assert caught.value.faults == ["routes one and three share the `silo` of the home: give one of them another `root`"]


def test_a_route_whose_options_are_not_right_is_told_of_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        router_of("silo_staging", ("one", "a", {"frob": 1}), ("two", "a", {}))

    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["route one"]


def test_rejected_records_of_a_handler_without_a_place_for_them_are_those_of_its_receipt() -> None:
    """Whoever asks for them opens no lake for the sake of another handler's unit."""
    of = Processed(
        bucket="b", unit="u/", held="v1", target="kaggle", detail={"rejects": [{"line": 1}, {"line": 2}]}, failed=None
    )

    assert BUILTIN["silo_staging"].rejections(Settings.model_construct(), of, 1) == {"rejected": [{"line": 1}]}
