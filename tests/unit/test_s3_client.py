"""What a client of S3 learns from answers, which may be a proxy's."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from consumer import s3_client
from consumer.s3_access import S3Access
from consumer.s3_client import S3Client
from handlers.contract import TransientError


async def test_store_is_not_taken_for_another_one_when_a_proxy_answers_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "DELAYS", ())
    answers = [
        web.Response(status=502, text="<html>", headers={"Server": "nginx"}),
        web.Response(headers={"Server": "SeaweedFS 30GB 4.17"}),
        web.Response(status=502, text="<html>", headers={"Server": "nginx"}),
    ]

    async def answer(_request: web.Request) -> web.Response:
        return answers.pop(0)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    key, secret = SecretStr("key"), SecretStr("secret")
    async with TestServer(application) as server:
        client = S3Client(S3Access(str(server.make_url("/")).rstrip("/"), access_key=key, secret_key=secret))
        seen = []
        for is_there in (False, True, False):
            if is_there:
                (await client.send("HEAD", "bucket", "key")).release()
            else:
                with pytest.raises(TransientError, match="502"):
                    await client.send("HEAD", "bucket", "key")
            seen.append(client.is_seaweed)
        await client.aclose()

    assert seen == [False, True, True]
