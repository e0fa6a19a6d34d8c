"""`lakedrop health`: whether the service on this machine answers, for containers' health checks."""

from __future__ import annotations

import http.client
import urllib.request
from typing import Final

import click

from consumer import exits
from consumer.cli import Command, Invocation
from consumer.settings_faults import listen_address

SECONDS = 4.0
"""Longest wait for the answer; the health check of the image waits five."""

LOOPBACK_OF_ALL: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (nothing listens there by this)
"""Where to ask who listens on every address of a family."""


@click.command(cls=Command, examples=("lakedrop health", "lakedrop health --home /srv/lake"))
@click.pass_obj
def health(invocation: Invocation) -> int:
    """
    Tell whether the service on this machine answers.

    Asks the status page, at `listen`. Exit code 0 when it answers, or when `listen` is empty: then there is nothing to
    ask. 69 when it does not.
    """
    address = listen_address(invocation.settings(quiet=True).listen)
    if address is None:  # empty: the settings refuse what is no address
        return exits.OK
    host, port = LOOPBACK_OF_ALL.get(address[0], address[0]), address[1]
    url = f"http://[{host}]:{port}/healthz" if ":" in host else f"http://{host}:{port}/healthz"
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever http_proxy says
    try:
        with straight.open(url, timeout=SECONDS) as answer:
            click.echo(answer.read().decode().strip())
    except (OSError, http.client.HTTPException) as error:
        raise exits.CommandError(f"{url} does not answer: {error}", exits.UNAVAILABLE) from error
    return exits.OK
