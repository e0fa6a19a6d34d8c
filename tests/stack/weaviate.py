"""
Weaviate: one node, no vectoriser.

Its gRPC port and the data port of its cluster listen on all interfaces, which no setting changes: its source says
`net.Listen("tcp", ":PORT")` for both. So both ask for a key; the others listen on the loopback interface.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.stack import cache, ports
from tests.stack.ports import LOOPBACK
from tests.stack.process import Process
from tests.stack.s3 import is_healthy
from tests.stack.server import Elsewhere, Instance, Server

API_KEY: Final = "of-tests"

GRPC_PORT: Final = 50051
"""Of a server that is told no other."""


class Weaviate(Server):
    """
    One Weaviate.

    Args:
        instance: What runs it.
        url: Its address for REST.
        grpc_port: Its port for gRPC, on the same host.
        api_key: The one key it knows; empty for one that asks for none.
    """

    name = "weaviate"
    variable = "LAKEDROP_TEST_WEAVIATE_URL"

    def __init__(self, instance: Instance, url: str, grpc_port: int, api_key: str = API_KEY) -> None:
        super().__init__(instance)
        self.url = url
        self.grpc_port = grpc_port
        self.api_key = api_key

    @classmethod
    def is_installed(cls) -> bool:
        return cache.binary("weaviate-server") is not None

    @classmethod
    def elsewhere(cls, url: str) -> Self:
        """Return the one of an address such as `http://KEY@host:8080?grpc=50051`; key and port may be left out."""
        parts = urlsplit(url)
        grpc_port = int(parse_qs(parts.query).get("grpc", [str(GRPC_PORT)])[0])
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        return cls(Elsewhere(cls.variable), place, grpc_port, unquote(parts.username or ""))

    @classmethod
    def native(cls, folder: Path) -> Self:
        port, grpc_port = ports.reserve(), ports.reserve()
        url = f"http://{LOOPBACK}:{port}"
        process = Process(
            cls.name,
            [str(cache.binary("weaviate-server")), "--scheme", "http", "--host", LOOPBACK, "--port", str(port)],
            log=folder / "weaviate.log",
            ready=lambda: is_healthy(f"{url}/v1/.well-known/ready"),
            environment=_environment(folder, grpc_port),
        )
        return cls(process, url, grpc_port)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send one request below `/v1` and return its JSON; AssertionError with what was said when it fails."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.api_key}"}
        request = urllib.request.Request(f"{self.url}/v1/{path}", data, headers, method=method)  # noqa: S310 (its own)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                content = response.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error
        return json.loads(content) if content else None

    def clear(self) -> None:
        """Remove every collection with its objects: names of collections are all that tests can share it by."""
        for collection in self.call("GET", "schema")["classes"]:
            self.call("DELETE", f"schema/{collection['class']}")


def _environment(folder: Path, grpc_port: int) -> dict[str, str]:
    gossip, data, raft, raft_rpc = (str(ports.reserve()) for _ in range(4))
    return {
        "HOME": str(folder),
        "PERSISTENCE_DATA_PATH": str(folder / "data"),
        "AUTHENTICATION_APIKEY_ENABLED": "true",
        "AUTHENTICATION_APIKEY_ALLOWED_KEYS": API_KEY,
        "AUTHENTICATION_APIKEY_USERS": "tests",
        "AUTHORIZATION_ADMINLIST_ENABLED": "true",
        "AUTHORIZATION_ADMINLIST_USERS": "tests",
        "DEFAULT_VECTORIZER_MODULE": "none",
        "AUTOSCHEMA_ENABLED": "false",
        "QUERY_DEFAULTS_LIMIT": "25",
        "GRPC_PORT": str(grpc_port),
        "CLUSTER_HOSTNAME": "node1",
        "CLUSTER_ADVERTISE_ADDR": LOOPBACK,
        "CLUSTER_BIND_ADDR": LOOPBACK,
        "CLUSTER_GOSSIP_BIND_PORT": gossip,
        "CLUSTER_DATA_BIND_PORT": data,
        "CLUSTER_BASIC_AUTH_USERNAME": "tests",
        "CLUSTER_BASIC_AUTH_PASSWORD": API_KEY,
        "RAFT_PORT": raft,
        "RAFT_INTERNAL_RPC_PORT": raft_rpc,
        "RAFT_BOOTSTRAP_EXPECT": "1",
        # Of one node, which has nobody to wait for: ready in 4 s instead of 8.
        "RAFT_TIMEOUTS_MULTIPLIER": "1",
        "RAFT_HEARTBEAT_TIMEOUT": "1",
        "RAFT_ELECTION_TIMEOUT": "1",
        "DISABLE_TELEMETRY": "true",
        "GO_PROFILING_DISABLE": "true",
        "LOG_LEVEL": "warning",
        "LOG_FORMAT": "text",
        "GOMAXPROCS": "2",
        "GOMEMLIMIT": "1GiB",
    }
