"""A catalogue of public datasets: seeded from files and sources, enriched by their APIs, embedded, searched."""

NAME = "dataset_catalogue"

MATCH = ("*/*.csv", "*/*.csv.gz", "*/*.zip")
"""Globs of a route that names none: what lies in the folder of a source."""
