"""A whole `App` on a folder, with a handler that does what each file says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from consumer.app import App, made_app, open_app
from consumer.held import Settled
from consumer.routes import HandlerKind
from consumer.service import Service
from consumer.settings import Settings
from consumer.settings_routes import RouteSettings
from handlers.contract import Claim, PermanentError, Receipt, Skip, StoredObject, TransientError, Unit
from tests.fakes import FakeHandler

BUCKET = "drop"


class Broken(PermanentError):
    """The file says that it is broken."""


class ObedientHandler(FakeHandler):
    """Fails, retries or skips an object whose text begins with that word."""

    async def apply(self, unit: Unit, objects: Sequence[StoredObject], claim: Claim) -> Receipt:
        text = (await objects[0].read()).decode() if objects else ""
        match text.split(" ")[0]:
            case "fail":
                raise Broken(f"the file says: {text}")
            case "retry":
                raise TransientError(f"the file says: {text}")
            case "skip":
                raise Skip(f"the file says: {text}")
        return await super().apply(unit, objects, claim)


class Options(BaseModel):
    """Options of a route to it."""

    model_config = ConfigDict(extra="forbid")

    on_delete: Literal["keep", "remove"] = "keep"
    by_folder: bool = False


@asynccontextmanager
async def opened(
    home: Path,
    handler: FakeHandler | None = None,
    *routes: RouteSettings,
    on_settled: Callable[[Settled], None] = lambda _settled: None,
) -> AsyncIterator[App]:
    """Open an app with workers on a home; by default one route takes the whole bucket `BUCKET`."""
    made = handler or ObedientHandler()
    settings = Settings(
        home=home,
        routes=routes or (RouteSettings(name="all", bucket=BUCKET, handler=made.name),),
        retry_delays=(3600.0,),
    )
    kinds = {made.name: HandlerKind(options=Options, match=(), create=lambda *_: made)}
    async with open_app(settings, kinds=kinds, on_settled=on_settled) as app:
        app.start_workers()
        yield app
        await app.stop(5)


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[App]:
    """Serve a home as `lakedrop run` does."""
    async with made_app(settings, serves=True) as app:
        service = Service(app)
        await service.start()
        try:
            yield app
        finally:
            await service.stop(5)


def drop(app: App, key: str, text: str) -> None:
    """Write a file into the bucket."""
    path = app.settings.buckets / BUCKET / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


async def settle(app: App) -> None:
    """Sweep, and work off what it finds."""
    await app.sweeper.sweep()
    await app.worked_off()
