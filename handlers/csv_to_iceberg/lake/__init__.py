"""Typed rows to Iceberg: tables, commits and what is kept beside them."""
