"""What is remembered of units beside their staging areas: the last receipt, and the last failure after it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from handlers.contract import Failure, Outcome, Receipt
from handlers.silo_staging.paths import write

FOLDER = ".lakedrop"

_LONGEST: Final = 200
"""Bytes of a file's name that tell of its unit. File systems take 255, and suffixes follow; a key may have 1,024."""


class Notes:
    """
    One file for each unit.

    Args:
        root: Of the staging areas; the files lie in a folder beside them.
    """

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER

    def received(self, bucket: str, unit: str, receipt: Receipt) -> None:
        """Note what SILO holds of a unit; earlier failures are over."""
        self._write(bucket, unit, {"receipt": asdict(receipt)})

    def failed(self, outcome: Outcome) -> None:
        """Note that a version of a unit failed, unless that was noted already or something happened since."""
        noted = self._read(self._place(outcome.bucket, outcome.unit))
        if noted.get("at", 0) >= outcome.at:
            return
        failure = {
            "fingerprint": outcome.fingerprint,
            "error_class": outcome.error_class or "",
            "message": outcome.error or "",
        }
        self._write(outcome.bucket, outcome.unit, {**noted, "failure": failure, "at": outcome.at})

    def forget(self, bucket: str, unit: str) -> None:
        """There is nothing of a unit any more."""
        self._place(bucket, unit).unlink(missing_ok=True)

    def all(self) -> Iterator[tuple[str, str, Receipt | Failure]]:
        """Yield bucket, unit and what is known of it, in byte order; a failure after the receipt of the same unit."""
        found = [self._read(path) for path in self._folder.glob("*.json")]
        for noted in sorted(found, key=lambda one: (one["bucket"].encode(), one["unit"].encode())):
            if "receipt" in noted:
                yield noted["bucket"], noted["unit"], Receipt(**noted["receipt"])
            if "failure" in noted:
                yield noted["bucket"], noted["unit"], Failure(**noted["failure"])

    def _write(self, bucket: str, unit: str, noted: dict[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**noted, "bucket": bucket, "unit": unit}, ensure_ascii=False)
        write(self._place(bucket, unit), text.encode())

    def _place(self, bucket: str, unit: str) -> Path:
        name = quote(f"{bucket}/{unit}", safe="")
        if len(name) > _LONGEST:
            name = hashlib.sha256(name.encode()).hexdigest()
        return self._folder / f"{name}.json"

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        try:
            noted: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        return noted
