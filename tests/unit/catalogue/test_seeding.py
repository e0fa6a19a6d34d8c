"""Files of Meta Kaggle become datasets, and lose nothing that is known better."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from handlers.contract import Skip
from handlers.dataset_catalogue import meta_kaggle
from handlers.dataset_catalogue.descriptions import Description, Seed, described, listed
from handlers.dataset_catalogue.seeding import Seeding
from tests.catalogue_site import Made, write_meta_kaggle

USERS = [{"Id": "7", "UserName": "anna"}]


def seed(made: Made, folder: Path, version: str = "v1", unit: str = "lake/kaggle/", size: int = 2) -> Seeding:
    found = meta_kaggle.batches(folder, size)
    seeds = Seed(unit, version, takes_over=True)
    with Seeding(made.site.database, "kaggle", seeds, found, made.site.now) as seeding:
        while seeding.step():
            pass
        seeding.finish()
        seeding.commit()
    return seeding


def test_a_dataset_has_its_title_from_its_current_version_and_its_name_from_its_owner(
    made: Made, tmp_path: Path
) -> None:
    folder = write_meta_kaggle(tmp_path / "files", {1: "Iris, again", 2: None, 3: "Wine"}, Users=USERS)

    seeding = seed(made, folder)

    assert (seeding.processed, seeding.inserted) == (3, 3)
    row = made.row("1")
    assert (row.ref, row.title, row.license) == ("anna/iris,-again", "Iris, again", "CC0")
    assert row.url == "https://www.kaggle.com/datasets/anna/iris,-again"
    assert (row.source_created_at, row.view_count) == (datetime(2020, 1, 31, 10, tzinfo=UTC), 5)
    assert (made.row("2").title, made.row("2").ref) == (None, None)
    assert made.statuses() == {"1": "minimal", "2": "minimal", "3": "minimal"}


def test_without_the_names_of_owners_a_dataset_keeps_its_slug_to_be_searched_for(made: Made, tmp_path: Path) -> None:
    seed(made, write_meta_kaggle(tmp_path / "files", {1: "Iris"}))

    assert (made.row("1").ref, made.row("1").source_meta) == (None, {"slug": "iris", "version": "1.0"})


def test_a_seed_again_inserts_nothing_and_downgrades_and_blanks_nothing(made: Made, tmp_path: Path) -> None:
    folder = write_meta_kaggle(tmp_path / "files", {1: "Iris", 2: "Wine"}, Users=USERS)
    seed(made, folder)
    found = Description(external_id="1", title="Iris by Fisher", description="Flowers", tags=["botany"], view_count=9)
    with made.site.database.begin() as connection:
        described(connection, "kaggle", [found], made.site.now)
    made.set("1", embedding=b"\0\0\0\0", embedding_of="model")

    again = seed(made, folder, "v2")

    assert (again.processed, again.inserted) == (2, 0)
    row = made.row("1")
    assert (row.enrichment_status, row.title, row.description) == ("enriched", "Iris by Fisher", "Flowers")
    assert (row.tags, row.view_count, row.embedding_of) == (["botany"], 9, "model")
    assert row.license == "CC0", "what nobody else told"


def test_a_later_seed_refreshes_what_only_seeds_told(made: Made, tmp_path: Path) -> None:
    seed(made, write_meta_kaggle(tmp_path / "files", {1: "Iris"}))
    seed(made, write_meta_kaggle(tmp_path / "files", {1: "Iris, corrected"}), "v2")

    assert made.row("1").title == "Iris, corrected"


def test_a_dataset_that_the_files_no_longer_tell_of_is_not_active_until_they_do_again(
    made: Made, tmp_path: Path
) -> None:
    both, one = ({1: "Iris", 2: "Wine"}, {1: "Iris"})
    seed(made, write_meta_kaggle(tmp_path / "files", both))
    less = seed(made, write_meta_kaggle(tmp_path / "files", one), "v2")
    assert (less.gone, [row.external_id for row in made.rows(is_active=True)]) == (1, ["1"])

    seed(made, write_meta_kaggle(tmp_path / "files", both), "v3")

    assert [row.external_id for row in made.rows(is_active=True)] == ["1", "2"]


def test_what_a_listing_told_of_stays_when_no_file_tells_of_it(made: Made, tmp_path: Path) -> None:
    with made.site.database.begin() as connection:
        listed(connection, "kaggle", [Description(external_id="9", title="New")], made.site.now)

    seed(made, write_meta_kaggle(tmp_path / "files", {1: "Iris"}))

    assert [row.external_id for row in made.rows(is_active=True)] == ["9", "1"]


def test_a_dataset_of_the_files_and_of_the_api_is_one(made: Made, tmp_path: Path) -> None:
    seed(made, write_meta_kaggle(tmp_path / "files", {1: "Iris"}, Users=USERS))
    with made.site.database.begin() as connection:
        inserted = listed(connection, "kaggle", [Description(external_id="1", ref="anna/iris")], made.site.now)

    assert inserted == 0
    assert len(made.rows()) == 1


def test_files_that_are_not_complete_are_waited_for(tmp_path: Path) -> None:
    folder = write_meta_kaggle(tmp_path / "files", {1: "Iris"})
    (folder / "DatasetVersions.csv").unlink()

    with pytest.raises(Skip, match=r"waits for DatasetVersions\.csv"):
        next(meta_kaggle.batches(folder, 10))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("Datasets.csv", "Key,Name\n1,a\n", "has no column Id, CurrentDatasetVersionId"),
        ("DatasetVersions.csv", 'Id,Title,Slug\n1,"never closed,x\n', "ends within a quoted cell"),
        ("DatasetVersions.csv", "Id,Title,Slug\n1,a,b\n2,c\n", "DatasetVersions.csv: .*Line: 3 .* Columns: 3 Found: 2"),
    ],
)
def test_files_that_are_something_else_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    folder = write_meta_kaggle(tmp_path / "files", {1: "Iris"})
    (folder / name).write_text(text)

    with pytest.raises(meta_kaggle.NotMetaKaggle, match=message):
        list(meta_kaggle.batches(folder, 10))


def test_ids_with_gaps_dates_of_both_kinds_and_cells_of_many_lines_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "Datasets.csv").write_text(
        "Id,CurrentDatasetVersionId,CreationDate,LastActivityDate,TotalVotes\n"
        "12.0,5.0,12/31/2019 23:59:59,2021-02-03 04:05:06,3.0\n"
        "nobody,6,,,\n"
        "7,,2021-02-03,not a date,\n"
        "13,,,,\n"
    )
    (folder / "DatasetVersions.csv").write_text('Id,Title,Slug\n5,"Two\nlines, ""quoted""",two\n6,Other,other\n')

    (found,) = meta_kaggle.batches(folder, 10)

    assert [(one.external_id, one.title) for one in found[::2]] == [("7", None), ("13", None)]
    assert found[0].source_created_at == datetime(2021, 2, 3, tzinfo=UTC)
    assert found[0].source_updated_at is None
    assert found[1].external_id == "12"
    assert found[1].title == 'Two\nlines, "quoted"'
    assert found[1].source_created_at == datetime(2019, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert (found[1].source_updated_at, found[1].like_count) == (datetime(2021, 2, 3, 4, 5, 6, tzinfo=UTC), 3)


def test_a_seed_that_does_not_come_to_its_end_changes_nothing(made: Made, tmp_path: Path) -> None:
    found = meta_kaggle.batches(write_meta_kaggle(tmp_path / "files", {1: "Iris", 2: "Wine"}), 1)
    with Seeding(made.site.database, "kaggle", Seed("u", "v"), found, made.site.now) as seeding:
        assert seeding.step()

    assert made.rows() == []


def test_what_files_are_put_together_in_is_gone_though_nobody_reads_to_the_end(tmp_path: Path) -> None:
    folder = write_meta_kaggle(tmp_path / "files", {1: "Iris", 2: "Wine"}, Users=USERS)
    files = sorted(folder.iterdir())
    found = meta_kaggle.batches(folder, 1)
    next(found)
    assert sorted(folder.iterdir()) != files

    found.close()

    assert sorted(folder.iterdir()) == files


def test_datasets_are_put_together_with_versions_and_owners_across_batches(tmp_path: Path) -> None:
    titles: dict[int, str | None] = {number: f"Title {number}" for number in range(1, 8)}
    folder = write_meta_kaggle(tmp_path / "files", titles, Users=[*USERS, {"Id": "8", "UserName": "nobody's"}])

    pages = list(meta_kaggle.batches(folder, 3))

    assert [len(page) for page in pages] == [3, 3, 1]
    found = {one.external_id: (one.title, one.ref) for page in pages for one in page}
    assert found == {str(number): (title, f"anna/title-{number}") for number, title in titles.items()}
