"""Records dropped into a bucket, with the small Argilla that answers as 2.8 does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.conftest import Home
from tests.argilla import parquet, record, serving, shown
from tests.fake_argilla import FakeArgilla, Fault

ROUTE = """
waker_seconds = 0.2
grace_seconds = 0.1
retry_delays = [0.1, 0.1]
argilla_url = "{url}"
argilla_api_key = "{key}"
[[routes]]
name = "argilla"
bucket = "csv-uploads"
prefix = "argilla/in/"
handler = "argilla_records"
"""

SPAN = (3, 13, "VESSEL")


class Records:
    """A home with a route to Argilla."""

    def __init__(self, home: Home, fake: FakeArgilla) -> None:
        self.home = home
        self.fake = fake
        home.configure(ROUTE.format(url=fake.url, key=fake.api_key))

    def drop(self, *rows: dict[str, Any], folder: str = "vessels") -> None:
        path = self.home.bucket / "argilla/in" / folder / "argilla_records.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(parquet(rows))

    def shown(self, dataset: str = "vessels") -> list[str]:
        return sorted(shown(self.fake).get(dataset, {}))


@pytest.fixture
def records(home: Home) -> Iterator[Records]:
    with serving() as fake:
        yield Records(home, fake)


def test_a_folder_becomes_a_dataset_once_and_then_exactly_its_changes(records: Records) -> None:
    home = records.home
    records.drop(record("D:1", "FV Ocean Star", SPAN), record("D:2", "FV Ocean Star", (0, 99, "VESSEL")))

    done = home.lakedrop("run", "--once")
    why = home.json("why", "argilla/in/vessels/", "--json")
    rejects = home.json("rejects", "argilla/in/vessels/", "--json")
    verified = home.lakedrop("verify")

    assert done.returncode == 0, done.stdout
    assert records.shown() == ["D:1"]
    assert (why["state"], why["holds"]["target"], why["holds"]["counts"]["rejected"]) == ("done", "argilla/vessels", 1)
    assert why["stored"]["fingerprint"] == why["holds"]["fingerprint"]
    assert (why["route"], why["holds"]["current"], rejects["current"]) == ("argilla", True, True)
    assert rejects["rejected"][0]["reason"].endswith("span 0..99 is not within the text of 13 characters")
    assert json.loads(rejects["rejected"][0]["text"])["id"] == "D:2"
    assert verified.returncode == 0, verified.stdout

    records.fake.asked.clear()
    home.lakedrop("run", "--once")
    assert [one for one in records.fake.asked if not one.startswith("GET ")] == []
    records.drop(record("D:1", "FV Ocean Star", SPAN), record("D:2", "FV Ocean Star", SPAN))
    assert home.lakedrop("run", "--once").returncode == 0
    assert records.shown() == ["D:1", "D:2"]
    assert [one.split()[-1] for one in records.fake.asked if one.startswith("PUT")] == ["1"]


def test_a_lost_ledger_is_rebuilt_from_the_log_without_asking_for_anything_to_be_written(records: Records) -> None:
    records.drop(record("D:1", "FV Ocean Star", SPAN))
    records.home.lakedrop("run", "--once")
    for path in records.home.path.glob("ledger.db*"):
        path.unlink()
    records.fake.asked.clear()

    rebuilt = records.home.lakedrop("ledger", "rebuild")
    again = records.home.lakedrop("run", "--once")

    assert (rebuilt.returncode, again.returncode) == (0, 0), rebuilt.stderr
    assert "would find nothing to do" in rebuilt.stdout
    assert not any("records/bulk" in one for one in records.fake.asked)


def test_records_that_are_stored_and_not_indexed_are_told_with_what_repairs_them(records: Records) -> None:
    records.drop(record("D:1", "FV Ocean Star", SPAN))
    records.home.lakedrop("run", "--once")
    dataset = records.fake.dataset("vessels")
    dataset.index = {}

    told = records.home.lakedrop("verify")
    assert told.returncode == 1
    assert "1 records stored but 0 indexed: python -m argilla_server search-engine reindex" in told.stdout
    again = records.home.lakedrop("replay", "--prefix", "argilla/in/vessels/", "--force", "--yes")

    assert again.returncode == 0, again.stdout
    assert records.home.lakedrop("verify").returncode == 0


def test_a_job_ingests_once_and_says_to_machines_what_it_did(records: Records) -> None:
    records.drop(record("D:1", "FV Ocean Star", SPAN))
    records.drop(record("D:1", ""), folder="empty")

    done = records.home.lakedrop("argilla", "ingest", "--json")
    told = json.loads(done.stdout)

    assert done.returncode == 1
    assert [one["dataset"] for one in told["worked"] if one["status"] == "done"] == ["argilla/vessels"]
    assert [one["folder"] for one in told["failed"]] == ["csv-uploads/argilla/in/empty/"]
    for path in records.home.path.glob("ledger.db*"):
        path.unlink()
    records.drop(record("D:1", "FV Ocean Star", SPAN), folder="empty")
    records.fake.asked.clear()
    again = records.home.lakedrop("argilla", "ingest")

    assert again.returncode == 0, again.stdout
    assert "in argilla/empty" in again.stdout
    assert sum("records/bulk" in one for one in records.fake.asked) == 1


def test_the_variables_of_the_cronjob_are_enough(home: Home, records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    home.configure("grace_seconds = 0.1\nwaker_seconds = 0.2")
    records.drop(record("D:1", "FV Ocean Star", SPAN))
    monkeypatch.setenv("ARGILLA_API_URL", records.fake.url)
    monkeypatch.setenv("ARGILLA_API_KEY", records.fake.api_key)
    monkeypatch.setenv("INPUT_PREFIX", "s3://csv-uploads/argilla/in/")

    done = home.lakedrop("argilla", "ingest")

    assert done.returncode == 0, done.stdout + done.stderr
    assert records.shown() == ["D:1"]


def test_a_wrong_key_holds_the_unit_without_costing_an_attempt(records: Records) -> None:
    records.drop(record("D:1", "FV Ocean Star", SPAN))
    records.fake.api_key = "another"

    done = records.home.lakedrop("argilla", "ingest", "--wait", "5")
    why = records.home.lakedrop("why", "argilla/in/vessels/")
    check = records.home.lakedrop("check")

    assert done.returncode == 75
    assert "The sink does not let us in; no attempt is counted meanwhile." in why.stdout
    assert "ARGILLA_API_KEY) is wrong" in why.stdout
    assert check.returncode != 0
    assert "ARGILLA_API_KEY) is wrong" in check.stdout


def test_rejects_tell_of_the_version_that_is_held_and_of_the_one_that_failed(records: Records) -> None:
    home = records.home
    records.drop(record("D:1", "FV Ocean Star", SPAN), record("D:2", ""))
    assert home.lakedrop("run", "--once").returncode == 0
    records.drop(record("D:3", ""), record("D:4", "FV", (0, 9, "VESSEL")))
    home.lakedrop("run", "--once")

    told = home.json("rejects", "argilla/in/vessels/", "--json")
    shown = home.lakedrop("rejects", "argilla/in/vessels/").stdout

    assert [json.loads(one["text"])["id"] for one in told["rejected"]] == ["D:2"]
    assert [json.loads(one["text"])["id"] for one in told["failed_rejected"]] == ["D:3", "D:4"]
    assert (told["kept"], told["failed_kept"], told["current"]) == (1, 2, False)
    first, _, second = shown.partition("argilla/vessels (version")
    assert "2 rejected records" in first
    assert "1 rejected record\n" in second


def test_a_record_that_was_refused_is_tried_again_by_a_replay_of_the_same_bytes(records: Records) -> None:
    home = records.home
    refused = {"detail": "Record at position 0 is not valid because of something that is over"}
    fault = Fault(
        "PUT", r"datasets/[^/]+/records/bulk", status=422, body=refused, times=2
    )  # both, then the first alone
    records.fake.faults.append(fault)
    records.drop(record("D:1", "FV Ocean Star", SPAN), record("D:2", "FV Ocean Star", SPAN))
    home.lakedrop("run", "--once")
    (rejected,) = home.json("rejects", "argilla/in/vessels/", "--json")["rejected"]

    again = home.lakedrop("replay", "--prefix", "argilla/in/vessels/", "--force", "--yes")

    assert again.returncode == 0, again.stdout
    assert fault.fired == 2
    assert json.loads(rejected["text"])["external_id"] == "D:1"
    assert records.shown() == ["D:1", "D:2"]
    assert home.json("rejects", "argilla/in/vessels/", "--json")["kept"] == 0
    (group,) = home.json("status", "--json")["groups"]
    assert (group["handler"], group["states"]["done"], sum(group["states"].values())) == ("argilla_records", 1, 1)


def test_a_call_that_fails_after_it_stored_its_records_is_repeated(records: Records) -> None:
    records.drop(*(record(f"D:{number}", "FV Ocean Star", SPAN) for number in range(3)))
    fault = Fault("PUT", r"datasets/[^/]+/records/bulk", status=500, body={"detail": "broken"}, stored=True)
    records.fake.faults.append(fault)

    done = records.home.lakedrop("run", "--once")

    assert done.returncode == 0, done.stdout
    assert fault.fired == 1
    assert records.shown() == ["D:0", "D:1", "D:2"]


def test_a_unit_waits_after_a_call_without_an_answer_which_may_yet_do_its_work(records: Records) -> None:
    home = records.home
    records.drop(record("D:1", "FV Ocean Star", SPAN))
    assert home.lakedrop("run", "--once").returncode == 0
    home.configure((ROUTE.format(url=records.fake.url, key=records.fake.api_key)).replace("grace_seconds = 0.1", ""))
    records.drop(record("D:1", "FV Ocean Star", SPAN, page_num=9))
    fault = Fault("PUT", r"datasets/[^/]+/records/bulk", status=None, times=9)
    records.fake.faults.append(fault)

    done = home.lakedrop("run", "--once", "--wait", "1")

    assert done.returncode == 75, done.stdout
    assert fault.fired == 1
    (row,) = home.in_ledger("SELECT status, open, wake_at, suspect_until, updated_at FROM units")
    assert (row[0], row[1]) == ("retrying", 1)
    assert row[2] == row[3] > row[4] + 200_000  # the five minutes of grace


def test_a_job_for_a_place_beside_the_routes_names_both(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INPUT_PREFIX", "s3://csv-uploads/argilla/in/vessels/")

    done = records.home.lakedrop("argilla", "ingest")

    assert done.returncode == 78
    assert "INPUT_PREFIX names csv-uploads/argilla/in/vessels/" in done.stderr
    assert "those are at csv-uploads/argilla/in/" in done.stderr


def test_a_job_without_a_route_says_what_to_set(home: Home) -> None:
    home.configure("")

    done = home.lakedrop("argilla", "ingest")

    assert done.returncode == 78
    assert "set INPUT_PREFIX=s3://bucket/argilla/in/" in done.stderr
