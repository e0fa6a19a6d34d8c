"""Annotation datasets: Parquet files of records in a bucket become datasets of Argilla, with their suggestions."""

NAME = "argilla_records"

MATCH = ("*/argilla_records.parquet", "*/dataset.yaml")
"""Globs of a route that names none: the records of a dataset, and the mapping beside them."""
