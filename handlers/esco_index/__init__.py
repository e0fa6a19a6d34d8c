"""Releases of ESCO into Weaviate: skills, occupations, groups and collections, with all that refers one to another."""

NAME = "esco_index"

MATCH = ("*/*/*.csv", "*/*/manifest.json")
"""Globs of a route that names none: `<version>/<language>/<file>` below its prefix."""
