"""Requests by aiohttp that change something are sent once."""

from __future__ import annotations

import aiohttp


async def once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """
    Keep aiohttp from sending a PUT or DELETE again whose connection broke; a middleware for sessions.

    The first may yet do its work, and the claim may have ended since.

    Raises:
        aiohttp.ClientConnectionError: There is no answer.
    """
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):  # nothing was sent
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if request.method == "GET":
            raise
        raise aiohttp.ClientConnectionError(str(error)) from error
