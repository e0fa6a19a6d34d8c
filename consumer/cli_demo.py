"""`lakedrop demo`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import click

from consumer import exits, logs
from consumer.cli import Command, Invocation
from consumer.demo import HOME, Demo, fresh_home
from consumer.demo_view import DemoView
from consumer.terminal import console

PAUSE = 0.3
"""Seconds between two files: one can follow, and the second file of a table meets the first."""

EMBEDDED: Mapping[str, Any] = {"store": "folder", "broker_url": None, "ledger_url": None, "catalog": {}, "listen": ""}
"""Whatever servers the environment names, the demo uses none."""


@click.command(cls=Command, home=f"./{HOME}", examples=("lakedrop demo", "lakedrop demo --home /tmp/demo"))
@click.pass_obj
def demo(invocation: Invocation) -> int:
    """
    Show it in half a minute, on sample files in ./lakedrop-demo.

    Makes the folder anew (and refuses one that no demo made), starts the embedded service on it, drops messy CSV files
    and shows what was detected and where the rows are. Then a file is replaced, and a sweep repairs what events missed.
    Ends by itself; the home stays, so that other commands can be tried on it.
    """
    invocation.home = invocation.home or HOME
    fresh_home(invocation.home)
    settings = invocation.settings().model_copy(update=EMBEDDED)
    if not invocation.debug:
        logs.configure(settings.log_format, "error")  # the view tells of rejected records itself
    asyncio.run(Demo(settings, DemoView(console()), pause=PAUSE).run())
    return exits.OK
