"""
The status pages of a running service, for probes, Prometheus and programs. Read-only.

    /healthz      the process answers; 200
    /readyz       store, broker, ledger and the handlers' sinks answer; 200, else 503 with what does not
    /metrics      Prometheus; while the ledger is away, what this process knows
    /status.json  what `lakedrop status --json` prints; 503 with the reason while the ledger is away

On a loopback address they are open to this machine alone. On any other, `/metrics` and `/status.json` want the token.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web

from consumer.app import App
from consumer.broker_topology import queues_of
from consumer.metrics import Metrics
from consumer.settings_faults import is_loopback, listen_address, parsed
from consumer.status import Numbers, status_numbers, status_report

log = structlog.get_logger("lakedrop.web")

ANSWER_SECONDS: Final = 5.0
"""How long a part may take to answer; Prometheus gives up after ten."""

RETRY_SECONDS: Final = 30.0
"""How often a port that is taken is tried again."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Web:
    """
    Serves the pages of one process.

    Args:
        address: `HOST:PORT`, checked with the settings; port 0 takes a free one.
        token: Bearer token; needed unless HOST is a loopback address.
    """

    def __init__(self, app: App, metrics: Metrics, *, address: str, token: str | None) -> None:
        self._app = app
        self._metrics = metrics
        found = listen_address(address)
        if found is None:
            raise ValueError(f"listen = {address!r}: not HOST:PORT")
        self._host, self._port = found
        self._token = token
        self.url = ""
        """Where it listens, once `run` has begun to."""
        self.listening = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled. While the port is taken, say so and try again: the work does not depend on pages."""
        application = web.Application(middlewares=[self._guarded])
        application.router.add_get("/healthz", _healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._metrics_page)
        application.router.add_get("/status.json", self._status)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            await self._listen(runner)
            port = runner.addresses[0][1]
            host = f"[{self._host}]" if ":" in self._host else self._host
            self.url = f"http://{host}:{port}"
            log.info("web.listening", url=self.url)
            self.listening.set()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def _listen(self, runner: web.AppRunner) -> None:
        while True:
            try:
                await web.TCPSite(runner, self._host, self._port).start()
            except OSError as error:
                log.warning("web.cannot_listen", error=str(error), repair="give `listen` another port, or none")
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._token is None:
            # A page in a browser may give its own name this address; the Host header tells.
            named = parsed(f"//{request.host}")
            if named is None or not is_loopback(named.hostname or ""):
                raise web.HTTPForbidden(text="this page answers to loopback names only\n")
        elif request.path not in ("/healthz", "/readyz"):
            given = request.headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
                raise web.HTTPUnauthorized(
                    text="send the header: Authorization: Bearer <listen_token>\n",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        response = await handler(request)
        response.headers["Cache-Control"] = "no-store"
        return response

    async def _readyz(self, _request: web.Request) -> web.Response:
        app = self._app
        parts = {"store": app.store.ping, "broker": app.broker.ping, "ledger": app.ledger.ping}
        asked = {name: _fault(ping) for name, ping in parts.items()}
        asked |= {f"sink {name}": _told(sink.told) for name, sink in app.sinks.items()}
        faults = dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
        ready = not any(faults.values())
        return web.json_response({"ready": ready, "faults": faults}, status=200 if ready else 503)

    async def _metrics_page(self, _request: web.Request) -> web.Response:
        numbers, depths = await asyncio.gather(self._numbers(), self._depths())
        sinks = {sink.name: sink.away is not None for sink in self._app.sinks.values()}
        page = self._metrics.exposition(numbers, depths, sinks)
        return web.Response(body=page, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _status(self, _request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                report = await status_report(self._app)
        except Exception as error:  # noqa: BLE001 (whatever it is, it keeps the ledger from telling)
            return web.json_response({"error": f"ledger: {_reason(error)}"}, status=503)
        return web.json_response(report.json())

    async def _numbers(self) -> Numbers | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await status_numbers(self._app)
        except Exception as error:  # noqa: BLE001 (what this process counted is worth having while the ledger is away)
            log.warning("metrics.ledger", error=_reason(error))
            return None

    async def _depths(self) -> dict[str, int]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return {queue: await self._app.broker.depth(queue) for queue in queues_of(list(self._app.queues))}
        except Exception as error:  # noqa: BLE001 (the other metrics are worth having while the broker is away)
            log.warning("metrics.depths", error=_reason(error))
            return {}


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _fault(ping: Callable[[], Awaitable[object]]) -> str | None:
    """Return why a part cannot be used, None when it can."""

    async def told() -> None:
        await ping()

    return await _told(told)


async def _told(tell: Callable[[], Awaitable[str | None]]) -> str | None:
    """Return what a part tells of itself, or what kept it from that."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await tell()
    except Exception as error:  # noqa: BLE001 (whatever it is, it is what the probe asks for)
        return _reason(error)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {ANSWER_SECONDS:g} s"
    return str(error) or type(error).__name__
