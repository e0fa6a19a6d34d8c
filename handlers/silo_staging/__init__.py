"""Genome releases to SILO: downloaded or dropped, transformed, staged, and preprocessed by SILO."""

NAME = "silo_staging"

MATCH = ("*/*",)
"""Globs of a route that names none: whatever lies in the folder of an organism."""
