"""CSV files to Iceberg tables: rows as typed columns, replaced as a whole with every version of their file."""

from handlers.csv_to_iceberg.csv.options import Options
from handlers.csv_to_iceberg.handler import CsvToIceberg, create
from handlers.csv_to_iceberg.lake.lake import LakeSettings, Placement
from handlers.csv_to_iceberg.trino_client import TrinoSettings

__all__ = ["MATCH", "NAME", "CsvToIceberg", "LakeSettings", "Options", "Placement", "TrinoSettings", "create"]

NAME = CsvToIceberg.name

MATCH = tuple(f"*.{kind}{packed}" for kind in ("csv", "tsv", "txt") for packed in ("", ".gz", ".bz2", ".xz", ".zst"))
"""Globs of a route that names none."""
