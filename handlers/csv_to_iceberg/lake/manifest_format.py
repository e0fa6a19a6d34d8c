"""
How manifests and manifest lists are encoded: Avro files as the Iceberg specification lays them out, version 2.

PyIceberg encodes every entry of a manifest it rewrites, about 0.1 ms each. Here an entry is encoded once: a manifest is
put together from blocks of entries that other manifests had before.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pyiceberg.avro.decoder import new_decoder
from pyiceberg.avro.encoder import BinaryEncoder
from pyiceberg.avro.file import AvroOutputFile
from pyiceberg.avro.resolver import construct_writer, resolve_reader
from pyiceberg.io import FileIO
from pyiceberg.manifest import (
    MANIFEST_LIST_FILE_SCHEMAS,
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestEntryStatus,
    ManifestFile,
    data_file_with_partition,
    manifest_entry_schema_with_data_file,
)
from pyiceberg.schema import Schema
from pyiceberg.types import StructType

CODEC: Final = {"write.avro.compression-codec": "gzip"}
"""Iceberg's default, read by every engine; blocks are kept compressed, so a table's own choice would not fit them."""

COMPRESSION_LEVEL: Final = 1
RAW_DEFLATE: Final = -15
"""Avro's `deflate` codec has no zlib header: the negative logarithm of the window."""


def deflated(data: bytes) -> bytes:
    """Compress one block."""
    packer = zlib.compressobj(COMPRESSION_LEVEL, zlib.DEFLATED, RAW_DEFLATE)
    return packer.compress(data) + packer.flush()


def inflated(data: bytes) -> bytes:
    """Return what `deflated` compressed."""
    return zlib.decompress(data, RAW_DEFLATE)


@dataclass(frozen=True, slots=True)
class Head:
    """What an entry says beside its file."""

    snapshot_id: int | None
    sequence_number: int | None
    file_sequence_number: int | None


class EntryFormat:
    """The entries of one partition spec."""

    def __init__(self, spec_id: int, partition: StructType) -> None:
        struct = data_file_with_partition(partition, 2)
        self.spec_id = spec_id
        self.partitioned = bool(partition.fields)
        self.schema: Schema = manifest_entry_schema_with_data_file(2, struct)
        self._writer = construct_writer(struct)
        self._reader = resolve_reader(
            struct, struct, read_types={-1: DataFile}, read_enums={101: FileFormat, 134: DataFileContent}
        )

    def encoded(self, file: DataFile) -> bytes:
        """Encode a file, without the head of an entry."""
        buffer = io.BytesIO()
        self._writer.write(BinaryEncoder(buffer), file)
        return buffer.getvalue()

    def file(self, entry: bytes) -> DataFile:
        """Decode the file of an entry."""
        decoder = new_decoder(entry)
        _read_head(decoder)
        file: DataFile = self._reader.read(decoder)
        file.spec_id = self.spec_id
        return file


@lru_cache(maxsize=100)
def entry_format(spec_id: int, partition: StructType) -> EntryFormat:
    """Return the format of a partition spec: its reader and writer are slow to make."""
    return EntryFormat(spec_id, partition)


def entry(status: ManifestEntryStatus, head: Head, file: bytes) -> bytes:
    """Put a head before an encoded file."""
    numbers = (head.snapshot_id, head.sequence_number, head.file_sequence_number)
    # An optional long: the branch of the union, 0 for null, then the value.
    optional = (b"\x00" if number is None else b"\x02" + _long(number) for number in numbers)
    return b"".join([_long(status), *optional, file])


def split(encoded: bytes) -> tuple[Head, bytes]:
    """Return the head and the encoded file of an entry."""
    decoder = new_decoder(encoded)
    head = _read_head(decoder)
    return head, encoded[decoder.tell() :]


def _read_head(decoder: Any) -> Head:
    decoder.read_int()
    return Head(*(_optional(decoder) for _ in range(3)))


def _optional(decoder: Any) -> int | None:
    """Read the branch of a union with null, then the long, if it is one."""
    if not decoder.read_int():
        return None
    number: int = decoder.read_int()
    return number


def _long(number: int) -> bytes:
    """Encode a long: zigzag, then 7 bits a byte, lowest first (Avro specification, binary encoding)."""
    rest = (number << 1) ^ (number >> 63)
    result = bytearray()
    while rest > 0x7F:  # noqa: PLR2004  # 7 bits
        result.append(rest & 0x7F | 0x80)
        rest >>= 7
    result.append(rest)
    return bytes(result)


@dataclass(frozen=True, slots=True)
class Header:
    """The beginning of an Avro file."""

    data: bytes
    sync: bytes
    """Ends each block."""

    @classmethod
    def of(cls, schema: Schema, name: str, meta: Mapping[str, str]) -> Header:
        """Describe records of `schema`."""
        buffer = io.BytesIO()
        # Made for its header alone: PyIceberg's own blocks hold one entry each.
        file: AvroOutputFile[Any] = AvroOutputFile(
            output_file=None,  # type: ignore[arg-type]  # never opened
            file_schema=schema,
            schema_name=name,
            metadata={**meta, **CODEC},
        )
        file.encoder = BinaryEncoder(buffer)
        file._write_header()  # noqa: SLF001
        return cls(buffer.getvalue(), file.sync_bytes)


def write_blocks(files: FileIO, path: str, header: Header, blocks: Iterable[tuple[int, bytes]]) -> int:
    """Write an Avro file from blocks (number of records, compressed); return its size."""
    parts = [header.data]
    for count, packed in blocks:
        parts += [_long(count), _long(len(packed)), packed, header.sync]
    data = b"".join(parts)
    with files.new_output(path).create() as stream:
        stream.write(data)
    return len(data)


_LIST_SCHEMA: Final = MANIFEST_LIST_FILE_SCHEMAS[2]
_LIST_WRITER: Final = construct_writer(_LIST_SCHEMA)


def list_record(manifest: ManifestFile) -> bytes:
    """Encode the line of a manifest in a manifest list."""
    buffer = io.BytesIO()
    _LIST_WRITER.write(BinaryEncoder(buffer), manifest)
    return buffer.getvalue()


def write_list(files: FileIO, path: str, meta: Mapping[str, str], records: Sequence[bytes]) -> None:
    """Write a manifest list."""
    blocks = [(len(records), deflated(b"".join(records)))] if records else []
    write_blocks(files, path, Header.of(_LIST_SCHEMA, "manifest_file", meta), blocks)
