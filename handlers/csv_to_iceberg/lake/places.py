"""Where a catalog keeps tables: never where files are uploaded, or the lake would take its own for new ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import ForbiddenError, NoSuchNamespaceError
from pyiceberg.table import Table

from handlers.contract import PermanentError

Clash = Callable[[str], str | None]
"""Tells what is wrong with tables at a location; None: nothing."""


class WarehouseOverUploads(PermanentError):
    """Tables would lie where files are uploaded."""


class Places:
    """
    Refuses locations of tables.

    The settings were compared before, as far as they name the warehouse by its location; a REST catalog may keep that
    to itself until there is a namespace, or a table.
    """

    def __init__(self, catalog: Catalog, clash: Clash) -> None:
        self._catalog = catalog
        self._clash = clash
        self._cleared: set[str] = set()

    def refuse(self, location: str) -> None:
        """Raise `WarehouseOverUploads` when uploads lie there."""
        if location in self._cleared:
            return
        fault = self._clash(location)
        if fault is not None:
            raise WarehouseOverUploads(fault)
        self._cleared.add(location)

    def refuse_namespace(self, namespace: str, load: Callable[[str], Table | None] = lambda _name: None) -> None:
        """
        Compare where tables of a namespace lie or will lie, if the catalog tells.

        Args:
            namespace: Its name.
            load: Loads a table by its name, for catalogs that tell of nothing else; None when there is none any more.

        Raises:
            WarehouseOverUploads: Uploads lie there.
        """
        location = str(self._catalog.properties.get("warehouse") or "")
        with suppress(NoSuchNamespaceError, ForbiddenError):
            if "://" not in location:
                location = str(self._catalog.load_namespace_properties(namespace).get("location") or "")
            if not location:
                names = (".".join(identifier) for identifier in self._catalog.list_tables(namespace))
                location = next((table.location() for table in map(load, names) if table is not None), "")
        if location:
            self.refuse(location)
