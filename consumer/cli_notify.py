"""`lakedrop notify`: buckets of the store, and the notifications that bring their events to RabbitMQ."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import click
from rich.table import Table

from consumer import exits
from consumer.cli import Command, Group, Invocation
from consumer.kinds import builtin_kinds
from consumer.live import numbered
from consumer.notify import DEFAULT_TARGET, LAKEHOUSE_BUCKETS, Change, filter_of, is_ours, wanted
from consumer.router import Route
from consumer.routes import build_router
from consumer.s3_access import S3Access
from consumer.s3_admin import NoNotifications, S3Admin, UnknownTarget, open_admin
from consumer.settings import Settings
from consumer.store import AccessDenied, NoSuchBucket
from consumer.terminal import command, console, shown
from handlers.contract import TransientError

T = TypeVar("T")

AGAIN_SECONDS: Final = 1.0
"""Between two tries of a store that does not answer yet."""

to = click.option(
    "--to",
    "target",
    metavar="ARN",
    default=DEFAULT_TARGET,
    show_default=True,
    help="Where the store sends notifications, in its own words: MINIO_NOTIFY_AMQP_…_NAME is arn:minio:sqs::NAME:amqp.",
)


@click.group(cls=Group)
def notify() -> None:
    """
    Set, show or remove the bucket notifications of the routes.

    For stores that send them to RabbitMQ themselves, as MinIO does. SeaweedFS does not: see `lakedrop bridge`.
    """


@notify.command(
    cls=Command,
    examples=(
        "lakedrop notify apply",
        "lakedrop notify apply --wait 120",
        "lakedrop notify apply --to arn:minio:sqs::EVENTS:amqp --bucket raw",
    ),
)
@to
@click.option(
    "--bucket",
    "buckets",
    metavar="NAME",
    multiple=True,
    default=LAKEHOUSE_BUCKETS,
    show_default=True,
    help="Make this bucket too. May be given several times.",
)
@click.option("--no-create", is_flag=True, help="Make no buckets.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Wait this long for a store that does not answer yet, or does not know where to send events.",
)
@click.pass_obj
def apply(invocation: Invocation, *, target: str, buckets: tuple[str, ...], no_create: bool, wait: float) -> int:
    """
    Make the buckets that are missing, and set the notifications that the routes need.

    Made are the buckets of the routes, S3_INGEST_BUCKET and those of --bucket. Doing it again changes nothing; what
    others have set stays. A store without notifications gets its buckets, and its own advice.
    """
    settings = _on_s3(invocation)
    made = () if no_create else (*buckets, *filter(None, [os.environ.get("S3_INGEST_BUCKET")]))
    return asyncio.run(_or_advice(settings, _apply(settings, target, made, create=not no_create, wait=wait)))


@notify.command(cls=Command, examples=("lakedrop notify show", "lakedrop notify show --json"))
@to
@click.option("--json", "as_json", is_flag=True, help="An array for machines.")
@click.pass_obj
def show(invocation: Invocation, *, target: str, as_json: bool) -> int:
    """
    Show what is set on the buckets of the routes.

    Exit code 1 when it is not what the routes need.
    """
    settings = _on_s3(invocation)
    return asyncio.run(_or_advice(settings, _show(settings, target, as_json=as_json)))


@notify.command(cls=Command, examples=("lakedrop notify remove",))
@click.pass_obj
def remove(invocation: Invocation) -> int:
    """Take our notifications off the buckets of the routes; what others have set stays, and so do the buckets."""
    settings = _on_s3(invocation)
    return asyncio.run(_or_advice(settings, _remove(settings)))


def _on_s3(invocation: Invocation) -> Settings:
    settings = invocation.settings()
    if settings.store != "s3":
        raise exits.CommandError(
            'store = "folder": the folders of the home are watched, there is nothing to set', exits.CONFIGURATION
        )
    return settings


def _routed(settings: Settings) -> dict[str, list[Route]]:
    """Return the routes of each bucket."""
    routed: dict[str, list[Route]] = {}
    for route in build_router(settings, builtin_kinds()).routes:
        routed.setdefault(route.bucket, []).append(route)
    return dict(sorted(routed.items()))


@asynccontextmanager
async def _admin(settings: Settings, *, deadline: float = 0) -> AsyncIterator[S3Admin]:
    """Open the store, once it answers."""
    async with open_admin(S3Access.of(settings)) as admin:
        await _again_until(deadline, admin.buckets, TransientError)
        yield admin


async def _again_until(deadline: float, work: Callable[[], Awaitable[T]], error: type[Exception]) -> T:
    """Do something, again after an error of this type until the loop's clock has passed the deadline."""
    while True:
        try:
            return await work()
        except error as met:
            if isinstance(met, AccessDenied) or asyncio.get_running_loop().time() >= deadline:
                raise
        await asyncio.sleep(AGAIN_SECONDS)


async def _apply(settings: Settings, target: str, buckets: Iterable[str], *, create: bool, wait: float) -> int:
    out = console()
    routed = _routed(settings)
    deadline = asyncio.get_running_loop().time() + wait
    async with _admin(settings, deadline=deadline) as admin:
        if create:
            there = await admin.buckets()
            for bucket in sorted({*routed, *buckets}):
                made = bucket not in there and await admin.create(bucket)
                out.print(f"bucket {bucket}: {'made' if made else 'is there'}")
        for bucket, routes in routed.items():

            async def notify(bucket: str = bucket, routes: list[Route] = routes) -> str:
                return await _set(admin, wanted(bucket, await admin.notification(bucket), routes, target))

            try:
                # MinIO knows its targets some moments after it answers.
                done = await _again_until(deadline, notify, UnknownTarget)
            except UnknownTarget as error:
                raise exits.CommandError(
                    f"{error.message}\nThe store does not know {target}: give it the variables of "
                    "infra/minio-notify/minio.env, start it again, then repeat this",
                    exits.CONFIGURATION,
                ) from error
            out.print(f"bucket {bucket}: {done}")
    return exits.OK


async def _set(admin: S3Admin, change: Change) -> str:
    """Make a change if it is needed; return what was done, for people."""
    number = numbered(sum(map(is_ours, change.after["QueueConfigurations"])), "notification")
    if not change.needed:
        return f"{number}, unchanged"
    await admin.set_notification(change.bucket, change.after)
    return f"{number} set"


async def _or_advice(settings: Settings, work: Awaitable[int]) -> int:
    """Do something, or say how events come from a store that has no notifications of buckets."""
    try:
        return await work
    except NoNotifications:
        bridge = command(settings, "bridge", "seaweedfs")
        console().print(
            f"This store has no notifications of buckets. SeaweedFS: `{bridge}` brings its events; versitygw: its own "
            "options do, for all buckets; other stores: the sweep alone finds what is new.",
            soft_wrap=True,
        )
        return exits.OK


async def _show(settings: Settings, target: str, *, as_json: bool) -> int:
    changes: list[Change] = []
    async with _admin(settings) as admin:
        for bucket, routes in _routed(settings).items():
            changes.append(wanted(bucket, await admin.notification(bucket), routes, target))
    missing = [change.bucket for change in changes if change.needed]
    if as_json:
        told = [
            {"bucket": change.bucket, "as_wanted": not change.needed, "notifications": list(_rows(change))}
            for change in changes
        ]
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _print(changes)
        if missing:
            repair = command(settings, "notify", "apply", *(() if target == DEFAULT_TARGET else ("--to", target)))
            console().print(f"{', '.join(missing)}: not what the routes need; {repair}", soft_wrap=True)
    return exits.FAILED if missing else exits.OK


def _rows(change: Change) -> Iterable[dict[str, Any]]:
    """Yield what is set on a bucket, whoever set it."""
    for kind, arn in (
        ("QueueConfigurations", "QueueArn"),
        ("TopicConfigurations", "TopicArn"),
        ("LambdaFunctionConfigurations", "LambdaFunctionArn"),
    ):
        for one in change.before.get(kind, ()):
            yield {
                "id": one.get("Id", ""),
                "ours": is_ours(one),
                "target": one.get(arn, ""),
                "events": list(one.get("Events", ())),
                **filter_of(one)._asdict(),
            }


def _print(changes: Iterable[Change]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("bucket", "keys", "events", "target", "set by"):
        table.add_column(name, overflow="fold", header_style="bold")
    for change in changes:
        for row in _rows(change):
            keys = shown(f"{row['prefix']}*{row['suffix']}")
            owner = "lakedrop" if row["ours"] else "others"
            table.add_row(change.bucket, keys, " ".join(row["events"]), row["target"], owner)
    console().print(table if table.row_count else "no notifications")


async def _remove(settings: Settings) -> int:
    async with _admin(settings) as admin:
        for bucket in _routed(settings):
            try:
                current = await admin.notification(bucket)
            except NoSuchBucket:
                console().print(f"bucket {bucket}: does not exist")
                continue
            change = wanted(bucket, current, (), DEFAULT_TARGET)
            if change.needed:
                await admin.set_notification(bucket, change.after)
            number = sum(map(is_ours, current.get("QueueConfigurations", ())))
            console().print(f"bucket {bucket}: {numbered(number, 'notification')} removed")
    return exits.OK
