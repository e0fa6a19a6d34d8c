"""SeaweedFS 4: master, volume, filer, S3 and Iceberg catalog in one `weed` process."""

from __future__ import annotations

import json
import tempfile
import urllib.request
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tests.stack import cache, ports
from tests.stack.ports import LOOPBACK
from tests.stack.process import Process
from tests.stack.s3 import ACCESS_KEY, SECRET_KEY, S3Server, address, is_healthy
from tests.stack.server import Elsewhere, Instance


class Weed(S3Server):
    """
    One server.

    Killed, it forgets up to a minute of metadata events; told to stop, it waits 20 s for an open subscription.

    Args:
        filer: `host:port` of the filer's gRPC.
        filer_http: address of the filer itself.
        iceberg: address of its Iceberg REST catalog.
        sockets: files it leaves outside its folder.
    """

    name = "weed"
    variable = "LAKEDROP_TEST_WEED_URL"

    def __init__(
        self,
        instance: Instance,
        url: str,
        access_key: str,
        secret_key: str,
        *,
        filer: str,
        filer_http: str,
        iceberg: str,
        sockets: tuple[Path, ...] = (),
    ) -> None:
        super().__init__(instance, url, access_key, secret_key)
        self.filer = filer
        self.filer_http = filer_http
        self.iceberg = iceberg
        self._sockets = sockets

    @classmethod
    def is_installed(cls) -> bool:
        return cache.binary("weed") is not None

    @classmethod
    def elsewhere(cls, url: str) -> Self:
        """Return the one at an address of S3; the rest of it listens at SeaweedFS's own ports."""
        host = urlsplit(url).hostname
        return cls(
            Elsewhere(cls.variable),
            *address(url),
            filer=f"{host}:18888",
            filer_http=f"http://{host}:8888",
            iceberg=f"http://{host}:8181",
        )

    @classmethod
    def native(cls, folder: Path) -> Self:
        master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc, iceberg = (
            ports.reserve() for _ in range(9)
        )
        (folder / "data").mkdir()
        users = {
            "identities": [
                {
                    "name": "lakedrop",
                    "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                }
            ]
        }
        (folder / "s3.json").write_text(json.dumps(users))
        options = {
            "ip": LOOPBACK,
            "ip.bind": LOOPBACK,
            "dir": folder / "data",
            "master.port": master,
            "master.port.grpc": master_grpc,
            "master.electionTimeout": "1s",  # of one node; by default it waits for others for 10 s and more
            "master.volumeSizeLimitMB": 64,
            "master.volumePreallocate": "false",
            "master.telemetry": "false",
            "volume.port": volume,
            "volume.port.grpc": volume_grpc,
            "volume.max": 200,
            "filer.port": filer,
            "filer.port.grpc": filer_grpc,
            "filer.localSocket": folder / "filer.sock",
            "s3.port": s3,
            "s3.port.grpc": s3_grpc,
            "s3.config": folder / "s3.json",
            "s3.localSocket": folder / "s3.sock",
            "s3.port.iceberg": iceberg,
            "s3.port.lance": 0,
        }
        process = Process(
            cls.name,
            [
                *(str(cache.binary("weed")), "-logtostderr=true", "server", "-filer", "-s3"),
                *(f"-{name}={value}" for name, value in options.items()),
            ],
            log=folder / "weed.log",
            ready=lambda: is_healthy(f"http://{LOOPBACK}:{s3}/healthz") and _takes_files(f"http://{LOOPBACK}:{filer}"),
            environment={"HOME": str(folder), "GOMAXPROCS": "2", "GOMEMLIMIT": "1GiB"},
        )
        temporary = Path(tempfile.gettempdir())
        return cls(
            process,
            f"http://{LOOPBACK}:{s3}",
            ACCESS_KEY,
            SECRET_KEY,
            filer=f"{LOOPBACK}:{filer_grpc}",
            filer_http=f"http://{LOOPBACK}:{filer}",
            iceberg=f"http://{LOOPBACK}:{iceberg}",
            sockets=(
                temporary / f"seaweedfs-master-grpc-{master_grpc}.sock",
                temporary / f"seaweedfs-volume-grpc-{volume_grpc}.sock",
            ),
        )

    def close(self) -> None:
        super().close()
        for socket in self._sockets:
            socket.unlink(missing_ok=True)


def _takes_files(filer: str) -> bool:
    """Tell whether a file can be written: it says to be healthy before it can."""
    for method, body in (("PUT", b"x"), ("DELETE", None)):
        request = urllib.request.Request(f"{filer}/ready", method=method, data=body)  # noqa: S310 (our own server)
        try:
            urllib.request.urlopen(request, timeout=5).close()  # noqa: S310
        except OSError:
            return False
    return True
