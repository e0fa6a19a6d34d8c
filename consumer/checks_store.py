"""Tests of the store: is it there, does it do what exactness needs, and does it tell of what happens?"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Final

from consumer.app import App
from consumer.check import Check, checked
from consumer.notify import DEFAULT_TARGET, Filter, others_send, target_of, wanted
from consumer.s3_access import S3Access
from consumer.s3_admin import NoNotifications, open_admin
from consumer.store import AccessDenied
from consumer.terminal import command, shell, shown
from handlers.contract import ObjectChanged, PermanentError, StoredObject, TransientError

LISTED: Final = 5
"""Files that cannot be objects which are named; all are counted."""

OTHER_VERSION: Final = "00000000000000000000000000000000"
"""An ETag that no object has."""


class Unconditional(TransientError):
    """The store ignores If-Match: rows could carry the name of another version than theirs; use another store."""


async def store_checks(app: App) -> AsyncIterator[Check]:
    """Yield the results for the store, then for each routed bucket of S3."""
    settings = app.settings
    if settings.store == "folder":
        yield await checked("store", app.store.ping, lambda _: str(settings.buckets))
        return
    place = settings.s3_endpoint or "Amazon S3"
    repair = "start the store (docker compose up -d), or correct s3_endpoint, s3_access_key, s3_secret_key"
    store = await checked("store", app.store.ping, lambda _: place, repair)
    yield store
    if not store.ok:
        return
    for bucket in sorted({route.bucket for route in app.router.routes}):
        there = await checked(
            f"bucket {bucket}",
            partial(_read_some, app, bucket),
            lambda found: found,
            f"let this user list and read it; if it is not there: {command(settings, 'notify', 'apply')}",
        )
        yield there
        if there.ok and settings.broker_url is not None:
            told = await _notifications(app, bucket)
            if told is not None:
                yield told


async def _read_some(app: App, bucket: str) -> str:
    """List a bucket as far as its first object, and read that under its ETag and under another."""
    first = await _first(app, bucket)
    if first is None:
        return "can be listed, is empty"
    (await first.open()).close()
    other = copy.copy(first)
    other.etag = OTHER_VERSION
    try:
        (await other.open()).close()
    except ObjectChanged:
        return "can be listed and read, If-Match is kept"
    raise Unconditional


async def _notifications(app: App, bucket: str) -> Check | None:
    """Compare what a bucket sends with what its routes need; None where that cannot be known: a bridge may send it."""
    settings = app.settings
    name = f"events {bucket}"
    repair = command(settings, "notify", "apply")
    try:
        async with open_admin(S3Access.of(settings)) as admin:
            current = await admin.notification(bucket)
    except (NoNotifications, AccessDenied, PermanentError):
        return None
    except TransientError as error:
        return Check(name=name, ok=False, message=error.message, repair=repair)
    target = target_of(current)
    change = wanted(bucket, current, [route for route in app.router.routes if route.bucket == bucket], target)
    if not change.needed:
        return Check(name=name, ok=True, message=f"are sent to {target}")
    if others_send(current):
        return Check(name=name, ok=True, message="are sent as others have set it")
    if target != DEFAULT_TARGET:
        repair = command(settings, "notify", "apply", "--to", target)
    faults = [
        f"{words} {', '.join(map(_keys, filters))}"
        for words, filters in (("not sent:", change.missing), ("sent for no route:", change.superfluous))
        if filters
    ]
    return Check(name=name, ok=False, message="; ".join(faults), repair=repair)


def _keys(one: Filter) -> str:
    return f"{shown(one.prefix)}*{shown(one.suffix)}"


async def _first(app: App, bucket: str) -> StoredObject | None:
    async with aclosing(app.store.list(bucket)) as listing:  # type: ignore[type-var]  # they are generators
        async for found in listing:
            return found
    return None


async def folder_check(app: App) -> Check:
    """List all buckets: files that cannot be objects make themselves known."""
    listed = 0
    faults: list[str] = []
    for bucket in sorted({route.bucket for route in app.router.routes}):
        try:
            async for _ in app.store.list(bucket):
                listed += 1
        except TransientError as error:
            faults.append(error.message)
    if faults:
        return Check(name="objects", ok=False, message=f"{listed:,} listed; {'; '.join(faults)}")
    if not app.unlisted:
        return Check(name="objects", ok=True, message=f"{listed:,} listed")
    named = "; ".join(f"{shown(path)}: {reason}" for (_, path), reason in list(app.unlisted.items())[:LISTED])
    bucket = next(iter(app.unlisted))[0]
    number = len(app.unlisted)
    return Check(
        name="objects",
        ok=False,
        message=f"{number:,} {'file' if number == 1 else 'files'} cannot be objects: {named}",
        repair=shell("find", str(app.settings.buckets / bucket), "-ls"),
    )
