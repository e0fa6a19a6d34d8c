"""
Content of one file: its ETag, and reading exactly that content. Blocking.

The ETag is the XXH3-128 of the bytes in hexadecimal: nearly free, and the same bytes copied again are "unchanged".
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any, Final

from xxhash import xxh3_128

from consumer.etag_cache import FileStamp
from handlers.contract import ObjectChanged, ObjectGone, PermanentError, TransientError

SMALL_FILE: Final = 256 << 10
"""Bytes that are read on the event loop: some 60 microseconds, less than the way to a thread and back."""
_BLOCK: Final = 1 << 20

UNREADABLE: Final = "unreadable-"
"""Begins the ETag of a file this user may not read; changes when the permission does."""


class Unstable(Exception):
    """The file was written to while it was hashed, twice."""


def hash_file(path: bytes) -> tuple[FileStamp, str]:
    """
    Return stamp and ETag of a file.

    Raises:
        Unstable: It is being written.
        OSError: It cannot be read.
    """
    for _ in range(2):
        file = _opened(path)
        try:
            before = FileStamp.of(os.fstat(file))
            digest = xxh3_128()
            if before.size <= SMALL_FILE:
                digest.update(_content_of(file, before.size))
            else:
                _update_from(file, digest)
            if FileStamp.of(os.fstat(file)) == before:
                return before, digest.hexdigest()
        finally:
            os.close(file)
    raise Unstable


def provisional_etag(prefix: str, stamp: FileStamp) -> str:
    """Name a version whose content is not known."""
    return prefix + xxh3_128(repr(tuple(stamp)).encode()).hexdigest()


def read_exactly(path: bytes, stamp: FileStamp, etag: str, doubt: Callable[[], None]) -> bytes:
    """Return the content of a small file as `ExactReader` would, in half the time."""
    try:
        file = _opened(path)
        try:
            content = _content_of(file, stamp.size)
            after = FileStamp.of(os.fstat(file))
        finally:
            os.close(file)
    except OSError as error:
        raise _translated(path, error) from error
    if after != stamp:
        raise _changed(path)
    if xxh3_128(content).hexdigest() != etag:
        doubt()
        raise _changed(path)
    return content


class ExactReader(io.RawIOBase):
    """
    Reads a file whose stamp and ETag are known.

    The file must have the stamp when it is opened and still when its last byte was read, and what was read must have
    the ETag: neither alone notices every writer. Not seekable.

    Args:
        doubt: Called when the content has another ETag although the stamp is the same.

    Raises:
        ObjectGone: The file was deleted.
        ObjectChanged: The file has other content.
        PermanentError: This user may not read it.
        TransientError: The disk failed.
    """

    def __init__(self, path: bytes, stamp: FileStamp, etag: str, *, doubt: Callable[[], None]) -> None:
        self._doubt = doubt
        self._path = path
        self._stamp = stamp
        self._etag = etag
        self._digest = xxh3_128()
        self._unread = stamp.size
        self._verified = False
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: PTH123, SIM115 (pathlib has no bytes; closed by close)
        except OSError as error:
            raise _translated(self._path, error) from error
        if FileStamp.of(os.fstat(self._file.fileno())) != stamp:
            self.close()
            raise _changed(self._path)

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer as far as one read of the system goes; 0 at the end."""
        view = memoryview(buffer).cast("B")
        if not view:
            return 0
        try:
            count = self._file.readinto(view) or 0
        except OSError as error:
            raise _translated(self._path, error) from error
        self._account(view[:count])
        return count

    def readall(self) -> bytes:
        """Return all that is left."""
        try:
            content = self._file.readall()
        except OSError as error:
            raise _translated(self._path, error) from error
        self._account(content)
        self._account(b"")
        return content

    def close(self) -> None:
        """Close the file."""
        if "_file" in self.__dict__:
            self._file.close()
        super().close()

    def _account(self, content: bytes | memoryview) -> None:
        self._digest.update(content)
        self._unread -= len(content)
        if not self._verified and (not content or self._unread <= 0):
            self._verified = True
            if FileStamp.of(os.fstat(self._file.fileno())) != self._stamp:
                raise _changed(self._path)
            if self._digest.hexdigest() != self._etag:
                self._doubt()
                raise _changed(self._path)


def _changed(path: bytes) -> ObjectChanged:
    name = os.fsdecode(path)
    if os.path.lexists(path):
        return ObjectChanged(f"{name} was changed while it was being read")
    return ObjectGone(f"{name} was deleted while it was being read")


def _translated(path: bytes, error: OSError) -> Exception:
    name = os.fsdecode(path)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ObjectGone(f"{name} was deleted before it was read")
    if isinstance(error, PermissionError):
        return PermanentError(f"{name}: {error.strerror}: let the user of this service read it")
    return TransientError(f"{name}: {error.strerror or error}")


def _opened(path: bytes) -> int:
    """Open a file to be read; a small one takes half the time without a Python object around it."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _content_of(file: int, size: int) -> bytes:
    """Return all of a small file; `size` is what it is said to have."""
    content = os.read(file, size + 1)
    if len(content) == size:
        return content
    pieces = [content]
    while piece := os.read(file, _BLOCK):
        pieces.append(piece)
    return b"".join(pieces)


def _update_from(file: int, digest: xxh3_128) -> None:
    block = memoryview(bytearray(_BLOCK))
    while count := os.readv(file, [block]):
        digest.update(block[:count])
