"""Can files be written where the tables are? Asked before a service needs it."""

from __future__ import annotations

from contextlib import closing

from pyiceberg.io import FileIO, load_file_io

from handlers.csv_to_iceberg.lake.lake import Lake


def probe(lake: Lake, name: str) -> str | None:
    """
    Write a file to the warehouse, read it back and delete it. Blocks.

    Args:
        lake: An open one.
        name: Of the file; of nothing else that anybody writes.

    Returns:
        The place; None when only the catalog knows it, and there is no table to learn it from.

    Raises:
        OSError: It could not be written, or was not what was written.
    """
    found = _place(lake)
    if found is None:
        return None
    place, files = found
    location = f"{place.rstrip('/')}/{name}"
    content = b"written by `lakedrop check`, and to be deleted by it\n"
    with closing(files.new_output(location).create()) as stream:
        stream.write(content)
    try:
        with closing(files.new_input(location).open()) as stream:
            if stream.read() != content:
                raise OSError(f"{location}: what was read is not what was written")
    finally:
        files.delete(location)
    return place


def _place(lake: Lake) -> tuple[str, FileIO] | None:
    properties = lake.catalog.properties
    place = properties.get("warehouse") or ""
    if "://" in place:
        return place, load_file_io(properties, place)
    for name, _ in lake.ours():
        if (table := lake.load(name)) is not None:
            return table.location(), table.io
    return None
