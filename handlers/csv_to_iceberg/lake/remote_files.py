"""
Files elsewhere, for DuckDB: it reads them through PyIceberg's FileIO, so with the keys that the table is read with.

DuckDB's own way to S3 is an extension that is fetched from the network, and would be open to any statement.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any, ClassVar

import duckdb
from fsspec import AbstractFileSystem  # type: ignore[import-untyped]
from pyiceberg.io import FileIO


def reachable(connection: duckdb.DuckDBPyConnection, io: FileIO) -> str:
    """Open a connection to the files of a FileIO; return what their locations begin with there."""
    name = f"lake{len(connection.list_filesystems())}"
    # A class for each, as DuckDB asks the class for its name, and tables may be read with keys of their own.
    files = type(name, (_Files,), {"protocol": name})(io)
    connection.register_filesystem(files)
    return f"{name}://"


class _File:
    """
    An open file that each thread has a place of its own in.

    DuckDB reads one from several threads, in two calls each, seek and read: another's seek may come between.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._here = threading.local()

    def seek(self, place: int) -> int:
        """Go to a place, in bytes from the beginning."""
        self._here.place = place
        return place

    def tell(self) -> int:
        """Return where this thread is."""
        return getattr(self._here, "place", 0)

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer only at the end of the file."""
        place = self.tell()
        content: bytes = self._file.read_at(size, place)
        self._here.place = place + len(content)
        return content

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class _Files(AbstractFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """What DuckDB asks of a file system: files by name, their size; they never change."""

    protocol: ClassVar[str]
    cachable = False

    def __init__(self, io: FileIO) -> None:
        super().__init__()
        self._io = io

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix(f"{cls.protocol}://")

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        """Open a file for reading."""
        if mode != "rb":
            raise PermissionError(f"{path}: these files are read only")
        return _File(self._io.new_input(self._strip_protocol(path)).open())

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return the size of a file. Raises `FileNotFoundError`."""
        path = self._strip_protocol(path)
        return {"name": path, "size": len(self._io.new_input(path)), "type": "file"}

    def modified(self, path: str) -> datetime:
        """Return some time: a file of the lake has one content for ever."""
        del path
        return datetime.fromtimestamp(0, UTC)
