"""What the settings say of catalog and store becomes PyIceberg's properties; and where tables may not lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pyiceberg.io import load_file_io
from sqlalchemy import make_url

from consumer.catalog import catalog_properties, warehouse_faults
from consumer.router import Route
from consumer.settings import Settings
from handlers.csv_to_iceberg.lake.lake import LakeSettings


def settings(catalog: dict[str, str], **given: Any) -> Settings:
    return Settings(home=Path("/home"), catalog={name: SecretStr(text) for name, text in catalog.items()}, **given)


def route(bucket: str, prefix: str = "") -> Route:
    return Route("csv", bucket, prefix, ("*",), "csv_to_iceberg", None)


REST = {"type": "rest", "uri": "http://rest"}


def test_a_home_without_a_catalog_has_no_properties() -> None:
    assert catalog_properties(settings({}, s3_endpoint="http://s3")) == {}


def test_files_are_reached_as_the_store_is() -> None:
    found = catalog_properties(
        settings(REST, s3_endpoint="http://s3", s3_access_key=SecretStr("me"), s3_secret_key=SecretStr("pass"))
    )

    assert found == {
        **REST,
        "s3.endpoint": "http://s3",
        "s3.region": "us-east-1",
        "s3.access-key-id": "me",
        "s3.secret-access-key": "pass",
    }


def test_what_the_catalog_says_itself_holds() -> None:
    given = {**REST, "s3.endpoint": "http://other", "s3.region": "x"}

    assert catalog_properties(settings(given, s3_endpoint="http://s3", s3_region="y")) == given


def test_buckets_in_the_host_name_and_amazons_own_region_are_left_to_be_found() -> None:
    assert catalog_properties(settings(REST, s3_path_style=False)) == {**REST, "s3.force-virtual-addressing": "true"}


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_postgresql_is_spoken_to_by_the_driver_that_is_installed(scheme: str) -> None:
    found = catalog_properties(settings({"type": "sql", "uri": f"{scheme}://u:p@h/d", "warehouse": "s3://w/"}))

    assert found["uri"].partition("?")[0] == "postgresql+psycopg2://u:p@h/d"
    assert found["pool_pre_ping"] == "true"


def test_a_catalogs_database_that_vanished_is_noticed_within_a_lease_unless_its_address_says_otherwise() -> None:
    given = "postgresql://u:p%40@h/d?sslmode=require&connect_timeout=3"
    uri = catalog_properties(settings({"type": "sql", "uri": given, "warehouse": "s3://w/"}))["uri"]

    assert dict(make_url(uri).query) == {
        "sslmode": "require",
        "connect_timeout": "3",
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "4",
        "tcp_user_timeout": "30000",
    }
    assert uri.startswith("postgresql+psycopg2://u:p%40@h/d?")


def test_certificates_of_ones_own_are_trusted_for_tables_too() -> None:
    found = catalog_properties(settings(REST, s3_endpoint="https://s3", s3_ca_bundle=Path("/ca.pem")))
    files: Any = load_file_io(found).fs_by_scheme("s3", "bucket")  # type: ignore[attr-defined]

    options = files.__reduce__()[1][0]
    assert (options["tls_ca_file_path"], options["endpoint_override"]) == ("/ca.pem", "https://s3")


def test_secrets_of_a_catalog_are_not_shown() -> None:
    assert "hidden" not in repr(LakeSettings(home=Path("/home"), catalog={"uri": "postgresql://u:hidden@h/d"}))


@pytest.mark.parametrize(
    ("warehouse", "bucket", "prefix"),
    [
        ("s3://lake/", "lake", ""),
        ("s3a://lake/warehouse", "lake", ""),
        ("s3://lake/warehouse", "lake", "warehouse/"),
        ("s3://lake/warehouse", "lake", "warehouse/deeper/"),
        ("s3://lake/warehouse", "lake", "ware"),
        ("s3://lake", "lake", "in/"),
    ],
)
def test_a_route_over_the_warehouse_is_a_fault_that_names_both(warehouse: str, bucket: str, prefix: str) -> None:
    given = settings({"type": "sql", "uri": "sqlite:///x", "warehouse": warehouse}, store="s3")
    (fault,) = warehouse_faults(given, [route(bucket, prefix), route("uploads")])

    assert f"route csv: the objects of {bucket}/{prefix} and the catalog's warehouse {warehouse} lie in" in fault


@pytest.mark.parametrize("warehouse", ["s3://lake/warehouse", "name-of-a-warehouse", "file:///elsewhere"])
def test_a_route_beside_the_warehouse_is_none(warehouse: str) -> None:
    given = settings({"type": "rest", "uri": "http://rest", "warehouse": warehouse}, store="s3")

    assert list(warehouse_faults(given, [route("uploads"), route("lake", "warehouses/"), route("lake2")])) == []


def test_a_folder_used_as_a_bucket_may_not_hold_the_warehouse_either() -> None:
    given = settings({"type": "sql", "uri": "sqlite:///x", "warehouse": "file:///home/buckets/uploads/lake"})

    (fault,) = warehouse_faults(given, [route("uploads"), route("other")])
    assert "uploads/" in fault
