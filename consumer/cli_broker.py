"""`lakedrop broker definitions`: what a RabbitMQ server must know before it starts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from consumer import exits
from consumer.broker_definitions import USERS, VHOST, definitions
from consumer.cli import Command, Group, Invocation
from consumer.settings_faults import ConfigurationError


@click.group(cls=Group)
def broker() -> None:
    """Look after RabbitMQ."""


@broker.command(
    "definitions",
    cls=Command,
    examples=("lakedrop broker definitions --output definitions.json", "lakedrop broker definitions --vhost lake"),
)
@click.option(
    "--vhost", "vhosts", multiple=True, default=(VHOST,), show_default=True, metavar="NAME", help="May be repeated."
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Instead of printing.")
@click.pass_obj
def show(invocation: Invocation, vhosts: tuple[str, ...], output: Path | None) -> int:
    """
    Write the definitions that RabbitMQ loads when it starts (load_definitions in rabbitmq.conf).

    Users, permissions, policies, exchanges, and the queues of the routes. Passwords are taken from the environment:
    LAKEDROP_RABBITMQ_STORE_PASSWORD, _BRIDGE_, _CONSUMER_ and _OPERATOR_PASSWORD.
    """
    settings = invocation.settings()
    missing = [user.variable for user in USERS if not os.environ.get(user.variable)]
    if missing:
        raise ConfigurationError([f"{name}: not set; RabbitMQ gets no default passwords" for name in missing])
    names = {route.queue or route.handler for route in settings.routes} | {route.handler for route in settings.routes}
    text = json.dumps(definitions(vhosts, names, os.environ), indent=2) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, "utf-8")
        # The server runs as another user, and nobody else need read the passwords: the folder is to see to that.
    return exits.OK
