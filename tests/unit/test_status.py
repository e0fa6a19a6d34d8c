"""What `status` and `why` say, as one object for machines and people."""

import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from consumer.app import App
from consumer.exits import CommandError
from consumer.settings_routes import RouteSettings
from consumer.status import STATES, StatusReport, status_report
from consumer.status_text import print_status
from consumer.times import iso
from consumer.why import Why, locate, why_report
from consumer.why_text import print_why
from handlers.tasks import Task
from tests.apps import BUCKET, drop, opened, settle


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with opened(tmp_path) as app:
        yield app


def status_lines(report: StatusReport) -> str:
    out = io.StringIO()
    print_status(Console(width=160, file=out), report)
    return out.getvalue()


def why_lines(app: App, why: Why) -> str:
    out = io.StringIO()
    print_why(Console(width=160, file=out), why, iso(app.clock()))
    return out.getvalue()


async def why_of(app: App, key: str) -> Why:
    report = await why_report(app, BUCKET, key)
    json.dumps(report.json())
    return report


# status


async def test_untouched_home_shows_its_routed_buckets(app: App) -> None:
    report = await status_report(app)

    (group,) = report.groups
    assert (group.bucket, group.handler, dict(group.states)) == (BUCKET, "fake", dict.fromkeys(STATES, 0))
    assert (report.held, report.waiting, report.failed, report.last_sweep) == (0, 0, 0, None)
    assert "No sweep has ended yet." in status_lines(report)


async def test_every_unit_is_counted_in_one_state(app: App) -> None:
    for key, text in {"a": "x", "b": "y", "c": "fail 1", "d": "skip 1", "e": "retry 1"}.items():
        drop(app, key, text)
    await settle(app)

    report = await status_report(app)

    (group,) = report.groups
    assert dict(group.states) == {"done": 2, "gone": 0, "failed": 1, "skipped": 1, "retrying": 1, "pending": 0}
    assert (group.held, group.waiting) == (report.held, report.waiting) == (0, 1)


async def test_failure_is_named_with_its_reason_and_the_command_that_tells_more(app: App) -> None:
    drop(app, "c", "fail 1")
    await settle(app)

    report = await status_report(app)

    (failed,) = report.failures
    assert (failed.unit, failed.error_class, failed.error) == ("c", "Broken", "the file says: fail 1")
    assert failed.why == f"lakedrop why {BUCKET}/c --home {app.settings.home}"
    assert dict(report.failed_by_class) == {"Broken": 1}
    text = status_lines(report)
    assert "1 unit failed (Broken 1)" in text
    assert "the file says: fail 1" in text
    assert failed.why in text


async def test_failure_says_whether_the_sink_keeps_an_older_version(app: App) -> None:
    drop(app, "c", "good")
    await settle(app)
    drop(app, "c", "fail 1")
    await settle(app)

    (failed,) = (await status_report(app)).failures

    assert failed.sink_holds_older


async def test_waiting_unit_is_listed_with_its_time(app: App) -> None:
    drop(app, "e", "retry 1")
    await settle(app)

    report = await status_report(app)

    (unit,) = report.unsettled
    assert (unit.unit, unit.status, unit.held, unit.attempts) == ("e", "retrying", False, 1)
    assert unit.due == report.next_wake
    assert report.oldest_unsettled_seconds is not None
    assert 0 <= report.oldest_unsettled_seconds < 60
    assert "0 held, 1 waiting" in status_lines(report)


async def test_report_of_the_last_sweep_is_there(app: App) -> None:
    drop(app, "a", "x")
    await settle(app)
    await settle(app)

    sweep = (await status_report(app)).last_sweep

    assert sweep is not None
    assert (sweep["listed"], sweep["matched"], sweep["new"], sweep["agrees"]) == (1, 1, 0, True)
    assert str(sweep["finished_at"]).endswith("Z")


async def test_status_is_json(app: App) -> None:
    drop(app, "c\nd", "fail 1")
    await settle(app)
    report = (await status_report(app)).json()

    assert json.loads(json.dumps(report))["failures"][0]["unit"] == "c\nd"


# why


async def test_ingested_object_is_shown_with_what_the_sink_holds(app: App) -> None:
    drop(app, "a", "x")
    await settle(app)

    why = await why_of(app, "a")

    assert (why.state, why.route, why.handler) == ("done", "all", "fake")
    assert why.stored is not None
    assert why.holds is not None
    assert why.holds.current
    assert why.holds.at is not None
    assert why.holds.fingerprint == why.stored.fingerprint
    assert [moment.event for moment in why.timeline] == ["done"]
    assert why.repair == f"lakedrop replay --bucket {BUCKET} --prefix a --force --yes --home {app.settings.home}"


async def test_failed_version_is_told_apart_from_the_last_good_one(app: App) -> None:
    drop(app, "a", "good")
    await settle(app)
    good = (await why_of(app, "a")).stored
    drop(app, "a", "fail 1")
    await settle(app)

    why = await why_of(app, "a")

    assert (why.state, why.error_class, why.error) == ("failed", "Broken", "the file says: fail 1")
    assert why.holds is not None
    assert good is not None
    assert (why.holds.fingerprint, why.holds.current) == (good.fingerprint, False)
    assert [moment.event for moment in why.timeline] == ["done", "failed"]
    assert "The sink keeps the last good version." in why.summary
    text = why_lines(app, why)
    assert "(the last good version)" in text
    assert "the file says: fail 1" in text


async def test_text_ends_with_the_command_that_repairs(app: App) -> None:
    drop(app, "with space", "fail 1")
    await settle(app)

    why = await why_of(app, "with space")

    assert why.repair is not None
    assert "--prefix 'with space' --yes" in why.repair
    assert why_lines(app, why).rstrip().endswith(why.repair)


async def test_retrying_unit_says_when(app: App) -> None:
    drop(app, "e", "retry 1")
    await settle(app)

    why = await why_of(app, "e")

    assert (why.state, why.attempts) == ("retrying", 1)
    assert why.due is not None
    assert why.timeline[-1].next_at == why.due


async def test_unit_under_work_is_held(app: App) -> None:
    drop(app, "a", "x")
    await settle(app)
    row = (await app.units.find(BUCKET, "a"))[0]
    assert await app.ledger.claim(row.key) is not None

    why = await why_of(app, "a")

    assert why.state == "held"
    assert why.due is not None
    assert (await status_report(app)).held == 1


async def test_skipped_object_says_why(app: App) -> None:
    drop(app, "d", "skip 1")
    await settle(app)

    why = await why_of(app, "d")

    assert (why.state, why.error) == ("skipped", "the file says: skip 1")
    assert why.holds is None


async def test_object_nobody_has_seen_yet_leads_to_a_sweep(app: App) -> None:
    drop(app, "new", "x")

    why = await why_of(app, "new")

    assert (why.state, why.holds) == ("unknown", None)
    assert why.stored is not None
    assert why.repair == f"lakedrop sweep --home {app.settings.home}"


async def test_object_that_never_was_is_unknown(app: App) -> None:
    why = await why_of(app, "never")

    assert (why.state, why.stored, why.timeline) == ("unknown", None, ())


async def test_changed_object_that_nobody_has_seen_leads_to_a_sweep(app: App) -> None:
    drop(app, "a", "x")
    await settle(app)
    drop(app, "a", "y, changed behind the service's back")

    why = await why_of(app, "a")

    assert "another version" in why.summary
    assert why.repair == f"lakedrop sweep --home {app.settings.home}"


async def test_deleted_object_of_a_keeping_route_still_shows_what_the_sink_holds(app: App) -> None:
    drop(app, "a", "x")
    await settle(app)
    (app.settings.buckets / BUCKET / "a").unlink()
    await settle(app)

    why = await why_of(app, "a")

    assert why.stored is None
    assert why.holds is not None
    assert "keeps its rows" in why.summary


async def test_deleted_object_of_a_following_route_is_gone(tmp_path: Path) -> None:
    route = RouteSettings(name="all", bucket=BUCKET, handler="fake", options={"on_delete": "remove"})
    async with opened(tmp_path, None, route) as app:
        drop(app, "a", "x")
        await settle(app)
        (app.settings.buckets / BUCKET / "a").unlink()
        await settle(app)

        why = await why_of(app, "a")

        assert (why.state, why.repair) == ("gone", None)
        assert (await status_report(app)).groups[0].states["gone"] == 1


@pytest.mark.parametrize("swept", [False, True], ids=["not yet swept", "withheld by the brake"])
async def test_rows_of_a_deleted_object_that_are_still_there_lead_to_a_sweep_that_accepts_it(
    tmp_path: Path, swept: bool
) -> None:
    (tmp_path / "lakedrop.toml").write_text("max_vanish_units = 0\nmax_vanish_share = 0\n")
    route = RouteSettings(name="all", bucket=BUCKET, handler="fake", options={"on_delete": "remove"})
    async with opened(tmp_path, None, route) as app:
        drop(app, "a", "x")
        await settle(app)
        (app.settings.buckets / BUCKET / "a").unlink()
        if swept:
            await settle(app)

        why = await why_of(app, "a")

        assert why.summary == "The object is gone from the bucket; its rows are still in dictionary."
        assert ("withheld" in why.advice) == swept
        assert why.repair == f"lakedrop sweep --accept-vanished --home {tmp_path}"


async def test_timeline_of_a_kept_deletion_says_so(app: App) -> None:
    drop(app, "a", "x")
    await settle(app)
    (app.settings.buckets / BUCKET / "a").unlink()
    await settle(app)

    timeline = why_lines(app, await why_of(app, "a")).partition("timeline")[2]

    assert "deleted; rows kept" in timeline.splitlines()[-3] + timeline.splitlines()[-4]
    assert timeline.count("deleted; rows kept") == 1


async def test_of_many_columns_the_first_are_named(app: App) -> None:
    drop(app, "a", "x")
    await settle(app)
    why = await why_of(app, "a")
    assert why.holds is not None
    columns = [(f"c{number}", "BIGINT", "") for number in range(1500)]
    wide = replace(why, holds=replace(why.holds, detail={"columns": columns}))

    told = " ".join(why_lines(app, wide).split())

    assert "c18 BIGINT c19 BIGINT and 1,480 more: 1,480 BIGINT" in told
    assert "c20 " not in told


async def test_name_that_is_not_utf8_is_refused(app: App) -> None:
    with pytest.raises(CommandError, match=r"b/\\udcff.csv: its name is not UTF-8, so it is no object: rename"):
        locate(app, "b/\udcff.csv")


async def test_key_no_route_takes_names_the_routed_buckets(app: App) -> None:
    why = await why_report(app, "elsewhere", "a")

    assert (why.state, why.route) == ("unknown", None)
    assert BUCKET in why.advice


# Which object a person means


async def test_bucket_may_be_left_out_where_one_is_routed(app: App) -> None:
    assert locate(app, "t/a.csv") == (BUCKET, "t/a.csv")
    assert locate(app, f"{BUCKET}/t/a.csv") == (BUCKET, "t/a.csv")


async def test_path_into_a_bucket_is_its_object(app: App) -> None:
    assert locate(app, str(app.settings.buckets / BUCKET / "t" / "a b.csv")) == (BUCKET, "t/a b.csv")


async def test_bucket_must_be_named_where_several_are_routed(tmp_path: Path) -> None:
    routes = [RouteSettings(name=name, bucket=name, handler="fake") for name in ("one", "two")]
    async with opened(tmp_path, None, *routes) as app:
        assert locate(app, "two/a.csv") == ("two", "a.csv")
        with pytest.raises(CommandError, match="one, two"):
            locate(app, "t/a.csv")


# tasks


async def test_tasks_are_counted_in_status_and_told_with_the_objects_they_concern(app: App) -> None:
    drop(app, "a", "x")
    await settle(app)
    target = (await why_of(app, "a")).holds
    assert target is not None
    await app.task_rows.ask("fake", [Task("tell", target.target, "1"), Task("tell", "other", "1")])
    row = await app.task_rows.due("fake")
    assert row is not None
    await app.task_rows.failed(row, "ServiceUnusable", "nobody answers", 60)

    status = await status_report(app)
    why = await why_of(app, "a")

    (group,) = status.tasks
    assert (group.name, group.done, group.pending, group.retrying) == ("tell", 0, 0, 2), "both need the same service"
    assert group.worst is not None
    assert "Tasks of tell: 2 retrying" in status_lines(status)
    assert "nobody answers; again" in status_lines(status)
    (task,) = why.tasks
    assert (task.state, task.error, task.attempts) == ("retrying", "nobody answers", 1)
    assert "tell      retrying, nobody answers; again" in why_lines(app, why)
    json.dumps(status.json())

    await app.task_rows.hasten("fake")
    for _ in range(2):
        row = await app.task_rows.due("fake")
        assert row is not None
        await app.task_rows.done(row, {"dataset": 7})

    why = await why_of(app, "a")
    assert "tell      done, dataset 7, since" in why_lines(app, why)
    assert "Tasks of tell: 2 done" in status_lines(await status_report(app))
