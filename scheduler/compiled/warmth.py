"""Compiles everything before it is needed, or loads what an earlier start has left on disk."""

from types import ModuleType
from typing import Any, Final

from scheduler.compiled import groups as compiled_groups
from scheduler.cycles import Members
from scheduler.limits import Ledger
from scheduler.placers import Pack, PackOptions
from scheduler.sequencers import Drf, DrfOptions, Fifo, FifoOptions
from scheduler.snapshot import SnapshotBuilder

#: Weights for which keys take 32 bits, and 64.
_WEIGHTS: Final = ({"cpu": 1}, {"cpu": 1000, "mem": 1000})


def groups() -> ModuleType:
    """The module, after it has gone once through each of its ways.

    One session waits for the first agent of many, as the end of what runs there is known.
    """
    build = SnapshotBuilder()
    for number in range(2000):
        build.agent(
            f"{number}",
            resource_group="",
            architecture="",
            capacity={"cpu": 1, "mem": 1},
            used={"cpu": 1},
            images=["i"],
        )
    build.request("s", resource_group="", slots={"cpu": 1}, scopes=["k"], image_id="i")
    build.running("0", slots={"cpu": 1}, remaining=1)
    build.limit("k", "cpu", used=0, cap=1)
    snapshot = build.build()
    members = Members(snapshot.agents, len(snapshot.agents), snapshot.running)
    sequencers: list[Any] = [Fifo(FifoOptions()), Drf(DrfOptions())]
    placers: list[Any] = [Pack(PackOptions(weights=weights)) for weights in _WEIGHTS]
    for sequencer in sequencers:
        for placer in placers:
            ledger = Ledger(snapshot.slots, snapshot.limits)
            compiled_groups.Groups(snapshot, ledger).decide("", members, sequencer, placer, backfill=True)
    return compiled_groups
