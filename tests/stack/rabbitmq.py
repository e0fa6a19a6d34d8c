"""RabbitMQ 3.10 to 4.x, with its management plugin; one vhost for each test."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import time
import urllib.request
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import pytest

from tests.stack import ports
from tests.stack.container import Container
from tests.stack.ports import LOOPBACK
from tests.stack.process import LOOK_AGAIN, PATIENCE, Process, ServerFailed
from tests.stack.server import Elsewhere, Instance, Server

USER, PASSWORD = "lakedrop", "broker-of-tests"

GREETING = b"AMQP\x00\x00\x09\x01"
"""Of a client that speaks AMQP 0-9-1. The server answers with a method frame, whose first byte is 1."""

CLUSTER = re.compile(r"cluster_name\s*=>\s*'([^']*)'")
"""What the configuration of a quorum queue says of whose it is."""

SETTINGS = """\
listeners.tcp.1 = 127.0.0.1:{amqp}
management.tcp.ip = 127.0.0.1
management.tcp.port = {http}
default_user = {user}
default_pass = {password}
loopback_users = none
log.console = true
log.console.level = info
log.file = false
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
collect_statistics_interval = 1000
"""
"""Its statistics are what tests read of it, every second instead of every five."""


class RabbitMQ(Server):
    """
    One node.

    Args:
        instance: what runs it.
        url: AMQP address of a user who may do anything, without a vhost.
        management: address of the HTTP API.
        names: Erlang's registry of nodes, where it is a process of its own.
        data: its folder, where it can be seen.
    """

    name = "rabbitmq"
    variable = "LAKEDROP_TEST_RABBITMQ_URL"
    image = os.environ.get("LAKEDROP_TEST_RABBITMQ_IMAGE", "rabbitmq:4.1-management")

    def __init__(
        self, instance: Instance, url: str, management: str, names: Process | None = None, data: Path | None = None
    ) -> None:
        super().__init__(instance)
        self.url = url
        self.management = management
        parts = urlsplit(url)
        self.port = parts.port or 5672
        self.user, self.password = parts.username or "guest", parts.password or "guest"
        self._names = names
        self._data = data

    @classmethod
    def is_installed(cls) -> bool:
        return _script() is not None and shutil.which("epmd") is not None

    @classmethod
    def elsewhere(cls, url: str) -> Self:
        management = os.environ.get("LAKEDROP_TEST_RABBITMQ_MANAGEMENT_URL")
        return cls(Elsewhere(cls.variable), url, management or f"http://{urlsplit(url).hostname}:15672")

    @classmethod
    def native(cls, folder: Path) -> Self:
        amqp, http, distribution, names = (ports.reserve() for _ in range(4))
        home = folder / "home"
        home.mkdir()
        cookie = home / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        (folder / "rabbitmq.conf").write_text(SETTINGS.format(amqp=amqp, http=http, user=USER, password=PASSWORD))
        (folder / "advanced.config").write_text("[].")
        (folder / "enabled_plugins").write_text("[rabbitmq_management].")
        (folder / "environment").touch()
        environment = {
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(names),
            "ERL_CRASH_DUMP": str(folder / "crash.dump"),
            # Erlang's distribution would listen on all interfaces.
            "ERL_AFLAGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_NODENAME": "lakedrop@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            # Empty, or /etc/rabbitmq would have its say.
            "RABBITMQ_CONF_ENV_FILE": str(folder / "environment"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_PLUGINS_EXPAND_DIR": str(folder / "expanded"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            # Two schedulers that sleep when idle: by default Erlang spins, on every core.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
            # The script then becomes the node instead of waiting for it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
        node = Process(
            cls.name,
            [str(_script())],
            log=folder / "rabbitmq.log",
            ready=lambda: greets(amqp) and ports.answers(http),
            environment=environment,
        )
        registry = Process(
            "epmd",
            ["epmd", "-address", LOOPBACK, "-port", str(names)],
            log=folder / "epmd.log",
            ready=lambda: ports.answers(names),
            environment={},
        )
        url = f"amqp://{USER}:{PASSWORD}@{LOOPBACK}:{amqp}"
        return cls(node, url, f"http://{LOOPBACK}:{http}", registry, folder / "data")

    @classmethod
    def contained(cls, image: str) -> Self:
        amqp, http, distribution, names = (ports.reserve() for _ in range(4))
        container = Container(
            cls.name,
            image,
            ready=lambda: greets(amqp) and ports.answers(http),
            environment={
                "ERL_EPMD_ADDRESS": LOOPBACK,
                "ERL_EPMD_PORT": str(names),
                "RABBITMQ_NODENAME": "lakedrop@localhost",
                "RABBITMQ_DIST_PORT": str(distribution),
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            },
            files={
                # Without the image's own choice, which listens on one more port, on all interfaces.
                "/etc/rabbitmq/enabled_plugins": "[rabbitmq_management].",
                "/etc/rabbitmq/conf.d/90-lakedrop.conf": SETTINGS.format(
                    amqp=amqp, http=http, user=USER, password=PASSWORD
                ),
            },
        )
        return cls(container, f"amqp://{USER}:{PASSWORD}@{LOOPBACK}:{amqp}", f"http://{LOOPBACK}:{http}")

    def start(self) -> None:
        if self._names is not None:
            self._names.start()
        super().start()

    def kill(self) -> None:
        """End it at once, as soon as it has written the names of its quorum queues."""
        if self.running and not self.instance.paused:
            self._wait_for_names()
        super().kill()

    def close(self) -> None:
        self.instance.close()
        if self._names is not None:
            self._names.close()

    def forget_queues(self) -> None:
        """Have a node that was killed not know its quorum queues, as one killed within 1 s of their declaration."""
        if self._data is None:
            pytest.skip("the files of this server cannot be reached; to have one of our own: make stack")
        for names in self._data.glob("*/quorum/*/names.dets"):
            names.unlink()

    def _wait_for_names(self) -> None:
        """
        Wait until the file that tells a node which queues are its own names them all; RabbitMQ writes it within 1 s.

        It names a queue by the folder that it lies in: one that was deleted and declared again has the name of old.

        A quorum queue that is not in it when the node is killed has no leader afterwards, for good: whoever consumes
        from it waits for ever (rabbitmq/rabbitmq-server#10070; seen with 3.10.8, killed up to 0.6 s after declaring).
        """
        if self._data is None:
            return
        (names,) = self._data.glob("*/quorum/*/names.dets")
        queues = {
            f"{queue['vhost']}_{queue['name']}".replace("/", "%2F")
            for queue in self.call("GET", "queues?columns=name,vhost,type")
            if queue["type"] == "quorum"
        }
        end = time.monotonic() + PATIENCE
        while left := queues - _named(names):
            if time.monotonic() > end:
                raise ServerFailed(f"RabbitMQ does not write these names: {sorted(left)}")
            time.sleep(LOOK_AGAIN)

    def processes(self) -> list[Instance]:
        """Return everything it consists of."""
        return [self.instance, *([self._names] if self._names else [])]

    def create_vhost(self, name: str) -> str:
        """Create an empty vhost; return its URL."""
        self.call("PUT", f"vhosts/{quote(name, safe='')}")
        self.call("PUT", f"permissions/{quote(name, safe='')}/{self.user}", configure=".*", write=".*", read=".*")
        return f"{self.url}/{quote(name, safe='')}"

    def delete_vhost(self, name: str) -> None:
        """Delete a vhost and all in it; closes its connections."""
        self.call("DELETE", f"vhosts/{quote(name, safe='')}")

    def call(self, method: str, path: str, **body: object) -> Any:
        """
        Ask the HTTP API; return its answer.

        Args:
            method: of HTTP.
            path: below `/api/`, its names encoded.
            body: members of the JSON object sent.
        """
        request = urllib.request.Request(  # noqa: S310 (the address of our own server)
            f"{self.management}/api/{path}",
            method=method,
            data=json.dumps(body).encode() if method in {"PUT", "POST"} else None,
            headers={
                "content-type": "application/json",
                "authorization": "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode(),
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            text = answer.read()
        return json.loads(text) if text else None


def _named(names: Path) -> set[str]:
    """Return the quorum queues whose newest folders a file of names tells of, by vhost and name."""
    folders: dict[str, str] = {}
    configs = []
    for config in names.parent.glob("*/config"):
        with suppress(FileNotFoundError):  # of a queue that is being deleted
            configs.append((config.stat().st_mtime_ns, config.parent.name, config.read_text()))
    for _, folder, text in sorted(configs):
        if found := CLUSTER.search(text):
            folders[found[1]] = folder
    kept = names.read_bytes()
    return {queue for queue, folder in folders.items() if folder.encode() in kept}


def greets(port: int) -> bool:
    """Tell whether a broker speaks AMQP at a port; it listens only once everything of it has started."""
    try:
        with socket.create_connection((LOOPBACK, port), 1) as client:
            client.settimeout(5)
            client.sendall(GREETING)
            return client.recv(1) == b"\x01"
    except OSError:
        return False


def _script() -> Path | None:
    """Return RabbitMQ's own start script; the one that Debian puts on PATH changes the user and the folder."""
    packaged = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    if packaged:
        return packaged[-1]
    found = shutil.which("rabbitmq-server")
    return Path(found) if found else None
