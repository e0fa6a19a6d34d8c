"""Files that are something else than a table of text, told by how they begin."""

from __future__ import annotations

import json
import re
from typing import Final

from handlers.csv_to_iceberg.csv.errors import NotText

_EXPORT: Final = "export its sheet as CSV"
_PACK_ONCE: Final = "unpack it, then pack the file itself with gzip, bzip2, xz or zstd, or not at all"

_BINARY: Final = (
    (b"PK\x05\x06", f"an empty ZIP archive: {_PACK_ONCE}"),
    (b"\xd0\xcf\x11\xe0", f"an old Excel or Word document: {_EXPORT}"),
    (b"PAR1", "a Parquet file: register it as a table instead"),
    (b"%PDF-", "a PDF: export the table in it as CSV"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"SQLite format 3\0", "an SQLite database: export its table as CSV"),
    (b"\x7fELF", "a program"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7-Zip archive: {_PACK_ONCE}"),
    (b"Rar!", f"a RAR archive: {_PACK_ONCE}"),
    (b"\x1f\x8b", f"a gzip archive within an archive: {_PACK_ONCE}"),
    (b"BZh", f"a bzip2 archive within an archive: {_PACK_ONCE}"),
    (b"\xfd7zXZ\x00", f"an xz archive within an archive: {_PACK_ONCE}"),
    (b"\x28\xb5\x2f\xfd", f"a zstd archive within an archive: {_PACK_ONCE}"),
    (b"\x1f\x9d", f"an archive of Unix compress: {_PACK_ONCE}"),
    (b"\x04\x22\x4d\x18", f"an LZ4 archive: {_PACK_ONCE}"),
    (b"]\0\0", f"an LZMA archive: {_PACK_ONCE}"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"ARROW1", "an Arrow file"),
    (b"FEA1", "a Feather file"),
    (b"\x89HDF", "an HDF5 file"),
)
"""Formats and their first bytes: https://en.wikipedia.org/wiki/List_of_file_signatures."""

_ZIP: Final = b"PK\x03\x04"
_ZIPPED: Final = (
    (b"xl/", f"an Excel workbook (.xlsx): {_EXPORT}"),
    (b"opendocument.spreadsheet", f"an OpenDocument spreadsheet (.ods): {_EXPORT}"),
    (b"word/", "a Word document (.docx): export the table in it as CSV"),
)
_TAR: Final = (257, b"ustar")
"""Where a tar archive says what it is (POSIX.1-1988)."""

_MARKUP: Final = (
    (re.compile(r"<(?:!doctype\s+html|html|head|body|script)\b", re.IGNORECASE),
     "an HTML page, perhaps an error page that was saved in place of the file: look at it in a browser"),
    (re.compile(r"<\?xml\b|<[a-z]\w*:\w+[\s>]", re.IGNORECASE), f"XML: {_EXPORT}, if it is a spreadsheet"),
    (re.compile(r"version https://git-lfs\.github\.com/spec/"),
     "a pointer of Git LFS, not the file it stands for: get that with git lfs pull"),
    (re.compile(r"\{\\rtf"), "an RTF document: export the table in it as CSV"),
)  # fmt: skip
_JSON: Final = re.compile(r"""\{\s*"[^"\n]*"\s*:|\[\s*\{\s*["}]|\[\s*\[|\[\s*\Z|\[\s*\n""")
"""The beginning of an object with a name in it, or of a list of objects or lists, or of one that goes on below."""


def refuse_binaries(beginning: bytes) -> None:
    """
    Refuse bytes that begin as a known format does; for what cannot be text only.

    Raises:
        NotText: Names the format.
    """
    if beginning.startswith(_ZIP):
        for mark, what in _ZIPPED:
            if mark in beginning:
                raise NotText(f"The file is {what}.")
        raise NotText(f"The file is a ZIP archive: {_PACK_ONCE}.")
    for magic, what in _BINARY:
        if beginning.startswith(magic):
            raise NotText(f"The file is {what}.")
    at, mark = _TAR
    if beginning.startswith(mark, at):
        raise NotText(f"The file is a tar archive: {_PACK_ONCE}.")


def refuse_documents(beginning: bytes, encoding: str) -> None:
    """
    Refuse text that is no table: HTML, XML, JSON, pointers of Git LFS.

    Raises:
        NotText: Names what it is.
    """
    text = beginning.decode(encoding, "replace").lstrip()
    for pattern, what in _MARKUP:
        if pattern.match(text):
            raise NotText(f"The file is {what}.")
    if _JSON.match(text) and _is_json(text):
        raise NotText("The file is JSON: convert it to CSV.")


def _is_json(text: str) -> bool:
    """Tell whether a text begins with a JSON value, as far as it goes: a table may hold brackets too."""
    try:
        json.JSONDecoder(strict=False).raw_decode(text)
    except json.JSONDecodeError as error:
        # Cut off within the value, or damaged after much of it.
        return error.pos > len(text) // 2
    return True
