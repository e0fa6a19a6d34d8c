"""`lakedrop table ...`: commands about whole tables."""

from __future__ import annotations

import click

from consumer.cli import Group


@click.group(cls=Group)
def table() -> None:
    """Look after the tables."""
