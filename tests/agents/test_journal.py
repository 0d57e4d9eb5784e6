"""Events survive, keep their numbers, and never fill the disk."""

import sqlite3
from pathlib import Path

import pytest

from agents import journal as journals
from agents.journal import Journal
from agents.protocol import KernelLog, KernelPhase
from tests.flow.engines import Disk


def phase(name: str = "RUNNING", kernel: str = "knl_1", generation: int = 1) -> KernelPhase:
    return KernelPhase(kernel, generation, "ses_1", name)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


async def opened(path: Path) -> Journal:
    journal = Journal(path)
    await journal.open()
    return journal


async def test_events_and_numbers_outlive_the_process(path: Path) -> None:
    journal = await opened(path)
    await journal.append([phase("PULLING"), phase("PREPARED")])
    await journal.acknowledge(1)
    await journal.close()

    again = await opened(path)
    assert (again.id, again.newest, again.acknowledged) == (journal.id, 2, 1)
    (event,) = await again.after(0, 10)
    assert (event.seq, event.body) == (2, phase("PREPARED"))
    assert [e.seq for e in await again.append([phase()])] == [3]
    await again.close()


async def test_numbers_are_not_used_again_after_all_were_acknowledged(path: Path) -> None:
    journal = await opened(path)
    await journal.append([phase()] * 3)
    await journal.acknowledge(3)
    assert await journal.oldest() == 0
    await journal.close()
    again = await opened(path)
    assert [e.seq for e in await again.append([phase()])] == [4]
    await again.close()


async def test_a_manager_that_knows_more_makes_the_numbers_go_on_from_there(path: Path) -> None:
    """The node's disk was restored from an older copy."""
    journal = await opened(path)
    await journal.append([phase()])
    await journal.acknowledge(40)
    assert [e.seq for e in await journal.append([phase()])] == [41]
    await journal.close()


async def test_the_last_phase_of_each_kernel_is_remembered(path: Path) -> None:
    journal = await opened(path)
    await journal.append([phase("RUNNING"), phase("PULLING", "knl_2", 2), phase("TERMINATED")])
    await journal.append([phase("TERMINATED", "knl_2", 1)])
    await journal.acknowledge(4)
    assert await journal.phases() == [phase("PULLING", "knl_2", 2), phase("TERMINATED")]
    await journal.close()


async def test_a_full_journal_drops_logs_first_then_the_oldest(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "MAX_BYTES", 10_000)
    monkeypatch.setattr(journals, "MAX_EVENTS", 20)
    journal = await opened(path)
    for number in range(8):
        await journal.append(
            [KernelLog(f"knl_{number}", 1, b"x" * 2000, 2000), phase("TERMINATED", f"knl_{number}")]
        )
    events = await journal.after(0, 100)
    assert [event.seq for event in events] == list(range(1, 17)), "no end of a kernel is lost for a log"
    assert sum(len(e.body.data) for e in events if isinstance(e.body, KernelLog)) < 10_000

    await journal.append([phase()] * 10)
    events = await journal.after(0, 100)
    numbers = [event.seq for event in events]
    assert numbers == list(range(numbers[0], 27)), "what is kept has no gap"
    assert len(numbers) <= 20
    await journal.close()


async def test_a_failed_append_uses_up_no_numbers(path: Path) -> None:
    journal = await opened(path)
    other = sqlite3.connect(path)
    other.execute("PRAGMA query_only = 0")
    other.execute(
        "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
    )
    with pytest.raises(sqlite3.Error, match="disk is full"):
        await journal.append([phase()])
    other.execute("DROP TRIGGER full")
    other.close()
    assert [e.seq for e in await journal.append([phase()])] == [1]
    await journal.close()


async def test_a_broken_journal_is_put_aside_and_a_new_one_begins(path: Path) -> None:
    path.write_bytes(b"this is no database, and it is longer than a header of one hundred bytes: " * 3)
    journal = await opened(path)
    assert journal.newest == 0
    assert await journal.append([phase()])
    assert len(list(path.parent.glob("journal.sqlite.broken-*"))) == 1
    await journal.close()


async def test_a_full_disk_stops_no_event_and_costs_only_the_logs(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk", megabytes=32)
    journal = await opened(disk.path / "journal.sqlite")
    try:
        disk.fill()
        # Much more than the room: what is acknowledged is room again.
        for number in range(1, 1500):
            (event,) = await journal.append([phase(kernel=f"knl_{number % 50}")])
            assert event.seq == number
            if number % 50 == 0:
                await journal.acknowledge(number)
        (kept,) = await journal.append([KernelLog("knl_1", 1, b"x" * 16 * 2**20, 16 * 2**20)])
        assert kept.body == KernelLog("knl_1", 1, b"", 16 * 2**20)
    finally:
        await journal.close()
        disk.close()
