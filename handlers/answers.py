"""Answers of servers by HTTP, of which no more is read than they may be long. Blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import requests

PIECE: Final = 1 << 16


class AnswerTooLarge(Exception):
    """A server says more than it could have to say; its text goes on after the server's address."""


class _Bounded(requests.Response):
    """An answer whose reading ends in `AnswerTooLarge` where it is longer than `most` bytes."""

    most: int

    def iter_content(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
            yield from counted(super().iter_content(*args, **kwargs), self.most)
        except AnswerTooLarge:
            self.close()  # `requests` lets go only of what it has read to its end
            raise


def bounded(answer: requests.Response, most: int) -> requests.Response:
    """
    Return an answer that nobody can read beyond so many bytes, unpacked; reading it may raise `AnswerTooLarge`.

    Args:
        answer: Not read yet; the one that is returned takes its place.
        most: Bytes.
    """
    made = _Bounded()
    vars(made).update(vars(answer), most=most)
    return made


def read(answer: requests.Response, most: int) -> bytes:
    """
    Return the body of an answer to a request with `stream=True`, unpacked.

    Args:
        answer: Is closed by whoever asked.
        most: Bytes.

    Raises:
        AnswerTooLarge: It is longer; the rest is not read.
        requests.RequestException: It ends too early.
    """
    return b"".join(counted(answer.iter_content(PIECE), most))


def counted(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """
    Yield the pieces of an answer.

    Raises:
        AnswerTooLarge: They are more than so many bytes; the rest is not taken.
    """
    left = most
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise AnswerTooLarge(f"answers with more than {most >> 20} MiB")
        yield piece
