"""The behaviour that a SILO importer must have, point by point in the order of a run."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from handlers.silo_staging import downloader
from handlers.silo_staging.config import Config, Lineages
from handlers.silo_staging.downloader import DownloadError
from handlers.silo_staging.importer import Importer, Outcome
from handlers.silo_staging.lineage import LineageError
from handlers.silo_staging.paths import DATA, Paths, keep_newest, runs
from handlers.silo_staging.sentinels import DONE, LAST, RUN, SiloFailed
from handlers.silo_staging.transform import TransformError
from tests.silo_backend import LOOPBACK, Answer, Backend, packed, record, serving
from tests.stack.ports import deaf

TWO = [record("LOC_1.1"), record("LOC_2.1", country="CH")]


class Rig:
    """An importer on a folder, its backend, and a SILO that says whether it was run."""

    def __init__(self, root: Path, backend: Backend) -> None:
        self.root = root
        self.backend = backend
        self.now = 1_790_000_000.0
        self.silo_fails: BaseException | None = None
        self.seen: list[list[dict[str, Any]]] = []
        """What SILO found as its input, run by run."""

    @property
    def input(self) -> Path:
        return self.root / "preprocessing/input"

    @property
    def output(self) -> Path:
        return self.root / "preprocessing/output"

    def importer(self, silo: Callable[[], None] | None = None, **settings: Any) -> Importer:
        config = Config(backend=self.backend.url, root=self.root, **settings)
        importer = Importer(config, downloader.Backend(config.backend), silo or self._silo, clock=lambda: self.now)
        importer.prepare()
        return importer

    def _silo(self) -> None:
        self.seen.append(unpacked(self.input / DATA))
        if self.silo_fails is not None:
            raise self.silo_fails
        newest = next((int(run.name) for run in runs(self.output)), int(self.now))
        (self.output / str(newest + 1)).mkdir()

    def left(self) -> list[str]:
        """Names in the input folder."""
        return sorted(path.name for path in self.input.iterdir())


def unpacked(path: Path) -> list[dict[str, Any]]:
    with zstandard.open(path, "rt") as file:
        return [json.loads(line) for line in file]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with serving() as backend:
        backend.release(TWO)
        yield Rig(tmp_path, backend)


def test_01_a_start_makes_the_folders_and_forgets_earlier_downloads(rig: Rig) -> None:
    old = rig.input / "1700000000"
    old.mkdir(parents=True)
    (old / DATA).write_bytes(b"half of it")
    (rig.input / "database_config.yaml").write_text("schema: {}")

    rig.importer()

    assert rig.output.is_dir()
    assert rig.left() == ["database_config.yaml"]


def test_02_the_first_run_is_a_hard_refresh_and_state_is_in_memory_only(rig: Rig) -> None:
    first = rig.importer()
    assert (first.etag, first.refreshed_at) == ("0", 0)
    assert first.run().outcome is Outcome.IMPORTED
    assert (first.etag, first.refreshed_at) == ('"1"', rig.now)

    again = rig.importer()
    again.run()

    assert "If-None-Match" not in rig.backend.downloads[-1].headers
    assert len(rig.seen) == 2


def test_03_a_run_keeps_only_the_newest_output(rig: Rig) -> None:
    importer = rig.importer()
    for name in ("1700000001", "1700000009", "1700000003", "schema"):
        (rig.output / name).mkdir()

    importer.run()

    assert sorted(path.name for path in rig.output.iterdir()) == ["1700000009", "1700000010", "schema"]


def test_04_a_hard_refresh_asks_for_everything_and_other_runs_for_changes(rig: Rig) -> None:
    importer = rig.importer(hard_refresh_seconds=3600)
    importer.run()
    rig.now += 3599
    assert importer.run().outcome is Outcome.NOT_MODIFIED
    rig.now += 1
    importer.run()

    sent = [one.headers.get("If-None-Match") for one in rig.backend.downloads]
    assert sent == [None, '"1"', None]


def test_05_the_data_are_asked_for_compressed_and_stored_as_they_come(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[bytes] = []

    def looking(source: Path, *_: object) -> None:
        stored.append(source.read_bytes())
        raise TransformError("looked")

    monkeypatch.setattr("handlers.silo_staging.importer.transform", looking)
    with pytest.raises(TransformError, match="looked"):
        rig.importer().run()

    (request,) = rig.backend.downloads
    assert request.query == {"compression": "zstd"}
    assert rig.backend.answers["/get-released-data"].headers["Content-Encoding"] == "zstd"
    assert stored == [packed(TWO)]
    assert downloader.TIMEOUT_SECONDS == 300


def test_06_two_runs_in_one_second_have_folders_of_their_own(rig: Rig) -> None:
    importer = rig.importer()
    importer.run()
    rig.backend.release([record("LOC_3.1")], '"2"')
    importer.run()

    assert [run.name for run in runs(rig.input)] == [str(int(rig.now) + 1)]


def test_06_a_clock_that_is_set_back_makes_no_run_older_than_the_one_before(rig: Rig) -> None:
    importer = rig.importer()
    importer.run()
    rig.now -= 500
    rig.backend.release([record("LOC_3.1")], '"2"')

    assert importer.run().outcome is Outcome.IMPORTED
    assert [run.name for run in runs(rig.input)] == ["1790000001"]


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_07_an_error_of_the_backend_fails_the_run_and_changes_nothing(rig: Rig, status: int) -> None:
    importer = rig.importer()
    importer.run()
    before = rig.left()
    rig.now += 10
    rig.backend.answers["/get-released-data"] = Answer(b"out of order", status)

    with pytest.raises(DownloadError, match=f"answers {status} .*out of order"):
        importer.run()

    assert rig.left() == before
    assert (importer.etag, importer.refreshed_at) == ('"1"', rig.now - 10)


def test_08_nothing_new_leaves_no_folder_and_only_a_hard_refresh_is_remembered(rig: Rig) -> None:
    importer = rig.importer()
    importer.run()
    refreshed = rig.now
    rig.now += 10
    assert importer.run().outcome is Outcome.NOT_MODIFIED
    assert importer.refreshed_at == refreshed

    rig.now += 3600
    rig.backend.answers["/get-released-data"] = Answer(status=304)
    assert importer.run().outcome is Outcome.NOT_MODIFIED

    assert (importer.etag, importer.refreshed_at) == ('"1"', rig.now)
    assert rig.left() == [str(int(refreshed)), DATA]


def test_09_data_without_an_etag_are_an_error(rig: Rig) -> None:
    rig.backend.release(TWO, etag=None)
    importer = rig.importer()

    with pytest.raises(DownloadError, match="without an ETag"):
        importer.run()

    assert rig.left() == []


@pytest.mark.parametrize("total", [None, "many", "", "-2", "1e3"])
def test_10_a_count_that_is_absent_or_no_number_is_not_looked_at(rig: Rig, total: str | None) -> None:
    rig.backend.release(TWO, 'W/"weak"', total)
    importer = rig.importer()

    assert importer.run().outcome is Outcome.IMPORTED
    assert importer.etag == 'W/"weak"'


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"no zstd at all", id="not zstd"),
        pytest.param(packed(TWO)[:-20], id="cut short"),
        pytest.param(zstandard.compress(b'{"metadata": {}\n'), id="truncated JSON"),
        pytest.param(zstandard.compress(json.dumps({"wrong": 1}).encode() + b"\n{"), id="after a record that is wrong"),
        pytest.param(b"", id="no byte"),
    ],
)
def test_11_data_that_cannot_be_read_are_skipped_and_downloaded_again(rig: Rig, body: bytes) -> None:
    importer = rig.importer()
    rig.backend.answers["/get-released-data"].body = body

    assert importer.run().outcome is Outcome.UNREADABLE

    assert (importer.etag, importer.refreshed_at) == ("0", 0)
    assert rig.left() == []
    rig.backend.release(TWO)
    assert importer.run().outcome is Outcome.IMPORTED


def test_11_a_file_cut_between_two_records_is_not_taken_for_whole(rig: Rig) -> None:
    compressor = zstandard.ZstdCompressor().compressobj()
    first = compressor.compress(json.dumps(TWO[0]).encode() + b"\n")
    first += compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    rig.backend.release(TWO, total=None).body = first

    assert rig.importer().run().outcome is Outcome.UNREADABLE


def test_12_the_pipeline_version_is_that_of_the_first_record_that_has_one(rig: Rig) -> None:
    records = [record(pipelineVersion=None), record(pipelineVersion=3), record(pipelineVersion=2)]
    rig.backend.release(records)
    rig.backend.answers["/3.yaml"] = Answer(b"A: {}\n")
    lineages = Lineages(systems={"pango": {2: f"{rig.backend.url}/2.yaml", 3: f"{rig.backend.url}/3.yaml"}})

    rig.importer(lineages=lineages).run()

    assert (rig.input / "pango.yaml").read_text() == "A: {}\n"


def test_12_two_pipeline_versions_are_an_error_where_one_definition_is_for_all(rig: Rig) -> None:
    rig.backend.release([record(pipelineVersion=3), record(pipelineVersion=2)])
    systems = {"lineage_definitions": {2: f"{rig.backend.url}/2.yaml", 3: f"{rig.backend.url}/3.yaml"}}

    with pytest.raises(LineageError, match=r"pipeline versions \[2, 3\]"):
        rig.importer(lineages=Lineages(systems=systems, one_version=True)).run()

    assert rig.left() == []


def test_13_a_record_that_cannot_be_transformed_fails_the_run_and_names_its_line(rig: Rig) -> None:
    wrong = record()
    del wrong["nucleotideInsertions"]
    rig.backend.release([record(), wrong, record()])
    importer = rig.importer()

    with pytest.raises(TransformError, match="line 2: `nucleotideInsertions` is missing"):
        importer.run()

    assert rig.left() == []
    assert importer.etag == "0"


def test_14_another_count_than_the_backend_s_is_skipped_and_tried_again(rig: Rig) -> None:
    rig.backend.release(TWO, total=3)
    importer = rig.importer()

    assert importer.run().outcome is Outcome.MISCOUNTED

    assert rig.left() == []
    assert (importer.etag, importer.refreshed_at, rig.seen) == ("0", 0, [])


def test_14_a_wrong_record_is_told_before_a_wrong_count(rig: Rig) -> None:
    rig.backend.release([{"metadata": {}}], total=7)

    with pytest.raises(TransformError):
        rig.importer().run()


def test_15_data_that_silo_has_are_not_staged_again_and_their_etag_is_known(rig: Rig) -> None:
    importer = rig.importer()
    importer.run()
    rig.now += 4000
    rig.backend.release(TWO, '"2"')

    assert importer.run().outcome is Outcome.SAME

    assert (importer.etag, importer.refreshed_at) == ('"2"', rig.now)
    assert len(rig.seen) == 1
    assert rig.left() == ["1790000000", DATA]


def test_15_data_whose_database_is_gone_are_imported_again(rig: Rig) -> None:
    importer = rig.importer()
    importer.run()
    shutil.rmtree(runs(rig.output)[0])
    rig.backend.release(TWO, '"2"')

    assert importer.run().outcome is Outcome.IMPORTED
    assert len(runs(rig.output)) == 1


def test_15_an_earlier_folder_without_data_is_not_compared_with(rig: Rig) -> None:
    importer = rig.importer()
    (rig.input / "1780000000").mkdir()

    assert importer.run().outcome is Outcome.IMPORTED


def test_15_data_that_silo_did_not_get_are_not_compared_with(rig: Rig) -> None:
    """Another process may have ended between staging and SILO, and this one goes on."""
    importer = rig.importer()
    importer.run()
    (run,) = runs(rig.input)
    (run / "imported").unlink()
    rig.backend.release(TWO, '"2"')

    assert importer.run().outcome is Outcome.IMPORTED
    assert len(rig.seen) == 2


def test_16_a_run_keeps_only_the_newest_input(rig: Rig) -> None:
    importer = rig.importer()
    importer.run()
    rig.now += 60
    rig.backend.release([record("LOC_9.1")], '"2"')
    importer.run()

    assert rig.left() == ["1790000060", DATA]


def test_17_without_a_pipeline_version_lineages_are_empty(rig: Rig) -> None:
    rig.backend.release([record(pipelineVersion=None)])

    rig.importer(lineages=Lineages(systems={"pango": {1: "http://nowhere.invalid"}, "clade": {}})).run()

    assert (rig.input / "pango.yaml").read_bytes() == (rig.input / "clade.yaml").read_bytes() == b"{}\n"


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [({2: "/2.yaml"}, "no address of 'pango' for pipeline version 1"), ({1: "/1.yaml"}, "answers 503")],
)
def test_17_lineages_that_cannot_be_had_fail_the_run_and_leave_nothing(
    rig: Rig, addresses: dict[int, str], reason: str
) -> None:
    rig.backend.answers["/1.yaml"] = Answer(b"", 503)
    systems = {"pango": {version: rig.backend.url + path for version, path in addresses.items()}}
    importer = rig.importer(lineages=Lineages(systems=systems))

    with pytest.raises(LineageError, match=reason):
        importer.run()

    assert rig.left() == []
    assert importer.etag == "0"


def hosts(rig: Rig) -> list[dict[str, Any]]:
    return [json.loads(one.body) for one in rig.backend.requests if one.path == "/taxa/silo-lineage"]


def test_18_hierarchies_are_asked_for_by_distinct_values_and_only_when_those_change(rig: Rig) -> None:
    rig.backend.answers["/taxa/silo-lineage"] = Answer(b"9606: {}\n")
    rig.backend.release([record(host="b"), record(host="a"), record(host="b"), record(host=None)])
    importer = rig.importer(hierarchical_filters={"host": f"{rig.backend.url}/taxa/"})
    importer.run()
    assert (rig.input / "host.yaml").read_bytes() == b"9606: {}\n"

    rig.backend.release([record(host="a"), record("LOC_7.1", host="b")], '"2"')
    rig.now += 1
    assert importer.run().outcome is Outcome.IMPORTED

    assert hosts(rig) == [{"values": ["a", "b"]}]


def test_18_a_hierarchy_that_is_too_large_is_asked_for_once_more_without_other_branches(rig: Rig) -> None:
    rig.backend.answers["/taxa/silo-lineage"] = Answer(b"", 413)
    rig.backend.release([record(host="a")])

    with pytest.raises(LineageError, match="answers 413"):
        rig.importer(hierarchical_filters={"host": f"{rig.backend.url}/taxa"}).run()

    asked = [one.query for one in rig.backend.requests if one.path == "/taxa/silo-lineage"]
    assert asked == [{}, {"prune": "true"}]
    assert rig.left() == []


def test_18_without_values_a_hierarchy_is_empty(rig: Rig) -> None:
    rig.importer(hierarchical_filters={"host": f"{rig.backend.url}/taxa"}).run()

    assert (rig.input / "host.yaml").read_bytes() == b"{}\n"
    assert hosts(rig) == []


@pytest.mark.parametrize("links", [True, False])
def test_19_silo_s_input_is_at_every_moment_one_whole_file(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    importer = rig.importer()
    importer.run()
    rig.backend.release([record("LOC_5.1")], '"2"')
    looked: list[list[dict[str, Any]]] = []
    replace = Path.replace

    def looking(path: Path, target: Path) -> Path:
        looked.append(unpacked(rig.input / DATA))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", looking)
    if not links:

        def refused(*_: Any) -> None:
            raise PermissionError("no links here")

        monkeypatch.setattr(Path, "hardlink_to", refused)
    importer.run()

    assert looked == [rig.seen[0]]
    assert [one["accessionVersion"] for one in rig.seen[1]] == ["LOC_5.1"]
    assert rig.left() == ["1790000001", DATA]


@pytest.mark.parametrize("failure", [SiloFailed("exit code 3"), TimeoutError("too slow"), SystemExit(143)])
def test_20_a_run_whose_silo_fails_leaves_nothing_that_the_next_could_be_compared_with(
    rig: Rig, failure: BaseException
) -> None:
    importer = rig.importer()
    importer.run()
    rig.now += 60
    rig.backend.release([record("LOC_5.1")], '"2"')
    rig.silo_fails = failure

    with pytest.raises(type(failure)):
        importer.run()

    assert rig.left() == []
    assert importer.etag == '"1"'
    rig.silo_fails = None
    assert importer.run().outcome is Outcome.IMPORTED
    assert rig.seen[-1] == rig.seen[-2]


@pytest.mark.parametrize("failure", [SiloFailed("disk full"), TimeoutError("too slow"), SystemExit(143)])
def test_20_a_silo_that_fails_while_it_writes_leaves_the_earlier_database(rig: Rig, failure: BaseException) -> None:
    importer = rig.importer()
    importer.run()
    good = rig.output / "1790000001"
    (good / "data_version.silo").write_text("good")
    rig.backend.release([record("LOC_5.1")], '"2"')

    def failing() -> None:
        half = rig.output / "1790000100"
        half.mkdir()
        (half / "default.silo").write_text("half of")
        raise failure

    for _ in range(2):
        with pytest.raises(type(failure)):
            rig.importer(failing).run()

        assert [path.name for path in rig.output.iterdir()] == [good.name]
    assert (good / "data_version.silo").read_text() == "good"


@pytest.mark.parametrize("links", [True, False])
def test_20_a_run_that_another_process_overtook_leaves_that_one_s_data(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:

        def refused(*_: Any) -> None:
            raise PermissionError("no links here")

        monkeypatch.setattr(Path, "hardlink_to", refused)
    later = Paths(rig.root)

    def overtaken() -> None:
        (late,) = runs(rig.input)
        run = later.new_run(rig.now)
        (run / DATA).write_bytes(packed([record("LOC_9.1")]))
        keep_newest(rig.input)
        later.show(run)
        assert not late.exists()

    importer = rig.importer(overtaken)
    with pytest.raises(FileNotFoundError):  # there is nowhere to note that SILO has the data
        importer.run()

    assert rig.left() == ["1790000001", DATA]
    assert [one["metadata"]["accessionVersion"] for one in unpacked(rig.input / DATA)] == ["LOC_9.1"]


def test_21_a_success_is_remembered_with_its_etag_and_its_hard_refresh(rig: Rig) -> None:
    importer = rig.importer()
    importer.run()
    rig.now += 60
    rig.backend.release([record("LOC_5.1")], '"2"')
    importer.run()

    assert (importer.etag, importer.refreshed_at) == ('"2"', rig.now - 60)


def test_25_cleaning_up_never_touches_sentinels_or_other_files(rig: Rig) -> None:
    importer = rig.importer()
    kept = {RUN, DONE, LAST, "reference_genomes.json"}
    for name in kept:
        (rig.input / name).write_text("kept")
    rig.silo_fails = SiloFailed("no")
    with pytest.raises(SiloFailed):
        importer.run()
    rig.silo_fails = None
    importer.run()

    assert kept < set(rig.left())
    assert all((rig.input / name).read_text() == "kept" for name in kept)


def test_a_body_that_is_cut_off_fails_the_run(rig: Rig) -> None:
    rig.backend.answers["/get-released-data"].cut_at = 40
    importer = rig.importer()

    with pytest.raises(DownloadError, match="IncompleteRead"):
        importer.run()

    assert rig.left() == []


def test_a_body_that_stalls_fails_the_run_when_the_backend_was_silent_for_too_long(tmp_path: Path) -> None:
    with serving() as backend:
        stalls = threading.Event()
        backend.release(TWO).stalls = stalls
        try:
            with pytest.raises(DownloadError, match=r"[Tt]ime"):
                downloader.Backend(backend.url, timeout=0.2).download(tmp_path / "data")
        finally:
            stalls.set()


def test_a_backend_that_does_not_answer_fails_the_run(tmp_path: Path) -> None:
    with deaf() as port, pytest.raises(DownloadError, match=r"get-released-data: ConnectionError"):
        downloader.Backend(f"http://{LOOPBACK}:{port}").download(tmp_path / "data")


def test_data_that_change_between_two_runs_are_imported_each_time(rig: Rig) -> None:
    importer = rig.importer()
    for number in range(3):
        rig.backend.release([record(f"LOC_{number}.1")], f'"{number}"')
        rig.now += 1
        assert importer.run().outcome is Outcome.IMPORTED

    assert [[one["accessionVersion"] for one in seen] for seen in rig.seen] == [["LOC_0.1"], ["LOC_1.1"], ["LOC_2.1"]]
    assert [run.name for run in runs(rig.output)] == ["1790000004", "1790000003"]
