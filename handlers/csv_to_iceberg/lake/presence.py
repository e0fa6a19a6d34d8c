"""Do the servers of a lake answer: its catalog, and the store of its warehouse? Asked often, so it costs little."""

from __future__ import annotations

from contextlib import suppress

from pyarrow.fs import FileSelector
from pyiceberg.io import FileIO, load_file_io
from pyiceberg.io.pyarrow import PyArrowFileIO

from handlers.contract import SinkAway, SinkRefuses
from handlers.csv_to_iceberg.lake.away import told_when_warehouse_away
from handlers.csv_to_iceberg.lake.lake import Lake

NAME = ".lakedrop-ping"
"""A folder that nobody writes to."""


class Presence:
    """Asks for one lake. Blocks, on a lane of its own: other lanes may wait long for the very servers it asks."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._table: str | None = None
        """One whose place tells the warehouse, where only the catalog knows that."""

    def ping(self) -> None:
        """
        Ask all of them.

        Raises:
            SinkAway: With what is wrong with each that cannot be used; `SinkRefuses` when no other is away.
        """
        faults: list[SinkAway] = []
        for ask in (self._lake.ping, self._ask_warehouse):
            try:
                ask()
            except SinkAway as error:
                faults.append(error)
                if ask == self._lake.ping and self._place() is None:
                    break  # only the catalog knows the warehouse
        if len(faults) == 1:
            raise faults[0]
        if faults:
            kind = SinkRefuses if all(isinstance(fault, SinkRefuses) for fault in faults) else SinkAway
            raise kind("; ".join(fault.message for fault in faults))

    def _ask_warehouse(self) -> None:
        found = self._place()
        place, files = found or self._place_of_a_table() or ("", None)
        if place.startswith("file:") or not isinstance(files, PyArrowFileIO):
            return
        scheme, netloc, path = files.parse_location(f"{place.rstrip('/')}/{NAME}", files.properties)
        # Unlike a question for one file, a listing tells a missing bucket from a missing key, and why it is refused.
        with told_when_warehouse_away(place), suppress(FileNotFoundError):
            files.fs_by_scheme(scheme, netloc).get_file_info(FileSelector(path))

    def _place(self) -> tuple[str, FileIO] | None:
        properties = self._lake.catalog.properties
        place = properties.get("warehouse") or ""
        return (place, load_file_io(properties, place)) if "://" in place else None

    def _place_of_a_table(self) -> tuple[str, FileIO] | None:
        """Load one anew each time: a catalog may lend keys with it, which end."""
        if self._table is None:
            self._table = next((name for name, _ in self._lake.ours()), None)
        table = None if self._table is None else self._lake.load(self._table)
        if table is None:
            self._table = None
            return None
        return table.location(), table.io
