"""The handler, as far as no release is needed for it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from handlers.contract import ABSENT, Claim, PermanentError, Receipt, SinkRefuses, TransientError, Unit
from handlers.silo_staging.handler import Place, SiloStaging
from handlers.silo_staging.notes import Notes
from handlers.silo_staging.options import Options
from handlers.silo_staging.paths import Paths
from tests.silo_backend import packed, record
from tests.unit.lake.memory_table import InlineContext

NOBODY = 65534
"""A user of every Linux."""


@pytest.mark.parametrize("name", ["..", ".", ".lakedrop"])
async def test_a_folder_whose_name_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    """S3 allows such keys; without this, deleting them would remove what lies beside the staging areas."""
    (tmp_path / "silo").mkdir()
    (tmp_path / "kept").write_text("of somebody else")
    options = Options(root=tmp_path / "silo", on_delete="remove")
    handler = SiloStaging({"silo": Place("genomes", "silo/in/", options)}, InlineContext())
    unit = Unit("genomes", f"silo/in/{name}/", "silo", "silo/in/", options)

    with pytest.raises(PermanentError, match="is no name of an organism"):
        await handler.apply(unit, [], Claim("t", "", None))

    assert (tmp_path / "kept").read_text() == "of somebody else"


async def test_verify_passes_over_organisms_whose_route_is_gone(tmp_path: Path) -> None:
    handler = SiloStaging({"silo": Place("genomes", "silo/in/", Options(root=tmp_path))}, InlineContext())

    found = await handler.verify("genomes", {"elsewhere/ebola/": Receipt("f", "1", "ebola", {"rows": 2})})

    assert found["elsewhere/ebola/"].ok
    assert "no route has it" in found["elsewhere/ebola/"].message


async def test_a_folder_that_this_user_cannot_write_is_no_place_for_staging_areas() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are below one that only their owner enters
        root = Path(folder)
        handler = SiloStaging({"silo": Place("genomes", "silo/in/", Options(root=root))}, InlineContext())
        user = os.getuid()
        root.chmod(0o777)
        if user == 0:
            os.setreuid(NOBODY, -1)  # root may write everywhere
        try:
            await handler.ping()
            root.chmod(0o555)
            with pytest.raises(SinkRefuses, match=f"{root} cannot be written"):
                await handler.ping()
        finally:
            root.chmod(0o755)
            if user == 0:
                os.setreuid(0, -1)


async def test_what_is_kept_of_a_folder_that_is_gone_is_counted_on(tmp_path: Path) -> None:
    options = Options(root=tmp_path, on_delete="keep")
    handler = SiloStaging({"silo": Place("genomes", "silo/in/", options)}, InlineContext())
    unit = Unit("genomes", "silo/in/ebola/", "silo", "silo/in/", options)
    paths = Paths(tmp_path / "ebola")
    paths.make()
    (paths.output / "1790000000").mkdir()
    paths.data.write_bytes(packed([record("LOC_1.1"), record("LOC_2.1")]))

    receipt = await handler.apply(unit, [], Claim("t", ABSENT, Receipt("f", "1", "ebola", {"rows": 2})))
    verdicts = await handler.verify("genomes", {unit.name: receipt})

    assert receipt.fingerprint == ABSENT
    assert verdicts[unit.name].ok, verdicts[unit.name].message


async def test_a_unit_of_the_longest_name_that_a_store_allows_is_noted(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    units = ["ö" * 512, f"{'ö' * 511}/e", "short/"]

    for unit in units:
        notes.received("genomes", unit, Receipt("f", "1", "ebola", {"rows": 2}))

    assert {unit for _, unit, _ in notes.all()} == set(units)
    for unit in units:
        notes.forget("genomes", unit)
    assert list(notes.all()) == []


async def test_a_staging_area_that_cannot_be_removed_is_tried_again_and_stays_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(root=tmp_path, on_delete="remove")
    handler = SiloStaging({"silo": Place("genomes", "silo/in/", options)}, InlineContext())
    unit = Unit("genomes", "silo/in/ebola/", "silo", "silo/in/", options)
    (tmp_path / "ebola/preprocessing/output").mkdir(parents=True)
    Notes(tmp_path).received(unit.bucket, unit.name, Receipt("f", "1", "ebola", {"rows": 2}))

    def refused(path: str, **_: Any) -> None:
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", refused)  # root, who runs tests in containers, may remove everything
        with pytest.raises(TransientError, match=r"ebola\S* cannot be removed: Permission denied"):
            await handler.apply(unit, [], Claim("t", "", None))
    assert len(list(Notes(tmp_path).all())) == 1
    await handler.apply(unit, [], Claim("t", "", None))

    assert not (tmp_path / "ebola").exists()
    assert list(Notes(tmp_path).all()) == []
