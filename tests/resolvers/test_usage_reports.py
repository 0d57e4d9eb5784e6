"""Usage as it is answered: exact numbers, a file for spreadsheets, and what there is just now."""

import csv
import io
from datetime import timedelta

from services.usage import periods
from services.usage.totals import Additions, Scope
from tests.factories import Clock, Factories
from tests.schema import cluster
from tests.schema.conftest import Run

REPORT = """query ($by: UsageGrouping, $resolution: UsageResolution, $scope: ID) {
  usageReport(groupBy: $by, resolution: $resolution, scopeId: $scope) {
    from to csv
    parts { ofId of { id } total { sessionSeconds slots { name slotSeconds }
      measured { cpuSeconds memoryMeanBytes memoryPeakBytes accelerators { name utilisation } readBytes } }
      points { at usage { sessionSeconds } } } } }"""


async def test_a_report_has_exact_numbers_points_and_a_file(make: Factories, run: Run, clock: Clock) -> None:
    built = await cluster.build(make, sessions=0)
    hour = periods.floor_hour(clock.now()) - timedelta(hours=30)
    evil = await make.user(domain_id=built.owner.domain_id, name="=cmd")
    additions = Additions()
    for user, seconds in ((built.owner, 90), (evil, 10)):
        scope = Scope(user.domain_id, built.group.id, built.resource_group.id, user.id)
        for measure, amount, peak in (
            ("sessions", seconds * 10**6 + 1, 0), ("cpu", 1500 * seconds * 10**6, 0), ("mem", 2**40 * seconds * 10**6, 0),
            ("seen", 10**7, 0), ("use:cpu", 5 * 10**6, 0), ("use:mem", 2**30 * 10**7, 2**31),
            ("use:cuda.device", 25_000 * 10**7, 0), ("seen:cuda.device", 10**7, 0), ("io:read", 7, 0),
        ):  # fmt: skip
            additions.add(hour, scope, measure, amount, peak)
    async with make.core.db.write() as db:
        await additions.write(db)
    answer = await run(built.admin, REPORT, by="USER", resolution="DAY")
    first, second = answer["data"]["usageReport"]["parts"]
    assert (first["ofId"], first["of"]["id"]) == (built.owner.id, built.owner.id)
    assert first["total"] == {
        "sessionSeconds": "90.000001",
        "slots": [{"name": "cpu", "slotSeconds": "135"}, {"name": "mem", "slotSeconds": str(2**40 * 90)}],
        "measured": {
            "cpuSeconds": 5.0, "memoryMeanBytes": str(2**30), "memoryPeakBytes": str(2**31), "readBytes": "7",
            "accelerators": [{"name": "cuda.device", "utilisation": 25.0}],
        },
    }  # fmt: skip
    shown = [
        point["usage"]["sessionSeconds"]
        for point in first["points"]
        if point["usage"]["sessionSeconds"] != "0"
    ]
    assert shown == ["90.000001"]
    assert second["ofId"] == evil.id
    rows = list(csv.DictReader(io.StringIO(answer["data"]["usageReport"]["csv"])))
    assert len(rows) == 2 * len(first["points"])
    (used,) = [row for row in rows if row["id"] == evil.id and row["session_seconds"] != "0"]
    assert (used["name"], used["cpu_seconds"], used["used_cpu_seconds"]) == ("'=cmd@example.org", "15", "5")

    own = await run(built.user, REPORT, scope=built.group.id)
    (part,) = own["data"]["usageReport"]["parts"]
    assert (part["ofId"], part["total"]["sessionSeconds"], part["points"]) == (None, "90.000001", [])
    foreign = await run(built.user, REPORT, scope=evil.id)
    assert foreign["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    assert foreign["errors"][0]["extensions"]["path"] == ["scopeId"]


async def test_a_summary_counts_what_one_sees(make: Factories, run: Run) -> None:
    built = await cluster.build(make, sessions=3)
    other = await make.session(resource_group=built.resource_group, image=built.image)
    query = """{ summary { myRunningSessions myOtherSessions runningSessions otherSessions users groups agentsAlive agentsLost } }"""
    mine = (await run(built.user, query))["data"]["summary"]
    assert mine == {
        "myRunningSessions": 1, "myOtherSessions": 1, "runningSessions": 1, "otherSessions": 1, "users": None,
        "groups": 1, "agentsAlive": None, "agentsLost": None,
    }  # fmt: skip
    everything = (await run(built.admin, query))["data"]["summary"]
    assert (everything["myRunningSessions"], everything["runningSessions"]) == (0, 2)
    assert (everything["agentsAlive"], everything["agentsLost"]) == (1, 0)
    assert everything["users"] >= 3
    assert other.id
