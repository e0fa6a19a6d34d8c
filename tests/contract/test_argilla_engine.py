"""What becomes of records when the search engine behind Argilla is away, or has lost its disk."""

from __future__ import annotations

from tests.argilla_client import Made
from tests.contract.conftest import Engine


async def test_what_is_sent_while_the_engine_is_away_is_stored_and_not_found(made: Made, engine: Engine) -> None:
    path = f"{made.path}/progress"
    await made.store(made.item("D:1"))
    await engine.kill()
    refused, body = await made.upsert(made.item("D:1"), made.item("D:2"))
    away = [(await made.client.send("GET", each))[0] for each in (path, "status")]
    stored = [each["external_id"] for each in await made.records()]
    await engine.start()
    before = await made.client.get(path)
    await made.store({"external_id": "D:1"}, {"external_id": "D:2"})
    after = await made.client.get(path)

    assert refused == 500
    assert body["detail"]["code"] == "argilla.api.errors::GenericServerError"
    assert away == [500, 500]
    assert stored == ["D:1", "D:2"]
    assert (before["total"], after["total"]) == (1, 2), "found once it was sent again"


async def test_nobody_is_told_that_the_index_is_missing(made: Made, engine: Engine) -> None:
    await made.store(made.item("D:1"))
    await engine.wipe()
    status, _ = await made.upsert(made.item("D:2"))
    missing, _ = await made.client.send("GET", f"{made.path}/progress")
    await engine.reindex()
    progress = await made.client.get(f"{made.path}/progress")

    assert (status, missing) == (200, 500)
    assert progress["total"] == 2
