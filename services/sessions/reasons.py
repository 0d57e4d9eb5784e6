"""Why a session waits, as it is stored beside the session, and when there is something new to tell.

A document has the `code` and the numbers of the scheduler's reason in internal units, the session's `position`, the
moment by which it is estimated to start, and, where the constraint is about agents, how many take no work. The sentence
is made from it when it is read: who reads it may not know all that the scheduler knows.

What waits behind a busy cluster changes a little with every start, and a row each time would cost more than the starts.
So `news` gives what is worth a write: a new constraint at once, numbers that have moved by more than a twentieth, and
the rest when the queue is at rest.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from scheduler.plan import (
    DesignatedAgentsUnavailable,
    GangDoesNotFit,
    LimitReached,
    NoAgentFits,
    NoAgents,
    Reason,
    Reserved,
    SchedulerFailed,
    Waiting,
    WrongArchitecture,
    sentence,
)
from services import slots
from services.scheduling import pieces

Document = dict[str, Any]

#: Codes of what holds a session back before the scheduler looks at it.
STARTS_LATER: Final = "STARTS_LATER"
RETRY_LATER: Final = "RETRY_LATER"
WAITS_FOR_SESSIONS: Final = "WAITS_FOR_SESSIONS"
_HELD: Final = (STARTS_LATER, RETRY_LATER, WAITS_FOR_SESSIONS)

#: An estimate that moves by less is the same one: it is counted in whole seconds from every cycle's own moment, and moves
#: on while what holds the room is still being started.
_SAME_MOMENT: Final = timedelta(seconds=15)
_MOVED: Final = 0.05
_ABOUT_AGENTS: Final = (NoAgents, WrongArchitecture, NoAgentFits, GangDoesNotFit, DesignatedAgentsUnavailable)


@dataclass(frozen=True)
class Away:
    """Agents of a resource group that take no work: drained ones, and ones that are not connected."""

    drained: int = 0
    lost: int = 0


class News(NamedTuple):
    session_id: str
    document: Document
    #: 0: another constraint, or the first; 1: its numbers are far off; 2: they are nearly right.
    rank: int


def held_back(code: str) -> Document:
    """Of a session that the scheduler does not look at yet."""
    return {"code": code, "position": 0}


class Turns:
    """Whom to tell first when more is new than one cycle writes: those told longest ago, so that everybody's turn comes."""

    def __init__(self) -> None:
        self._cycle = 0
        self._told: dict[str, int] = {}
        #: Was there more than was chosen last?
        self.left = False

    def choose(
        self, news: Iterable[News], waiting: Collection[str], *, moving: bool, most: int
    ) -> list[News]:
        """Those of this cycle.

        Args:
            waiting: all that wait.
            moving: sessions have been placed, so that positions have changed and will again: what is nearly right waits.
            most: sessions told in this cycle.
        """
        self._cycle += 1
        known = list(news)
        found = [one for one in known if one.rank < 2 or not moving]
        found.sort(key=lambda one: (one.rank, self._told.get(one.session_id, 0), one.document["position"]))
        chosen = found[:most]
        self.left = len(chosen) < len(known)
        if len(self._told) > 2 * len(waiting):
            self._told = {key: cycle for key, cycle in self._told.items() if key in waiting}
        self._told.update(dict.fromkeys([one.session_id for one in chosen], self._cycle))
        return chosen


class Writer:
    """Makes the documents of one resource group's cycle; reasons that many share are read once.

    Args:
        away: of each resource group.
        groups: session → its resource group.
        unconnected: sessions that could go to several agents, had these a network between them.
    """

    def __init__(
        self,
        now: datetime,
        away: Mapping[str, Away],
        groups: Mapping[str, str],
        unconnected: Collection[str] = (),
    ) -> None:
        self._unconnected = unconnected
        self._now = now
        self._away = away
        self._groups = groups
        self._made: dict[tuple[str, Reason], Document] = {}

    def news(
        self, waiting: Iterable[tuple[str, Waiting]], stored: Mapping[str, Document | None]
    ) -> Iterator[News]:
        """What differs from what is stored, in the order of the queues."""
        for session_id, one in waiting:
            old = stored.get(session_id)
            new = self._document(session_id, one, old)
            if old != new:
                yield News(session_id, new, _rank(old, new))

    def _document(self, session_id: str, waiting: Waiting, old: Document | None) -> Document:
        reason, starts_in = waiting.reason, waiting.starts_in
        document = {**self._shared(self._groups[session_id], reason), "position": waiting.position}
        if isinstance(reason, Reserved):
            document["until"] = self._moment(reason.starts_in, old, "until")
        if session_id in self._unconnected and isinstance(reason, NoAgentFits | GangDoesNotFit):
            document["unconnected"] = True
        if starts_in is not None:
            document["starts_at"] = self._moment(starts_in, old, "starts_at")
        return document

    def _shared(self, group_id: str, reason: Reason) -> Document:
        key = group_id, reason
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = msgspec.to_builtins(reason)
            found.pop("starts_in", None)
            if isinstance(reason, SchedulerFailed):
                found["fault"] = found.pop("message")
            if isinstance(reason, _ABOUT_AGENTS):
                away = self._away.get(group_id, Away())
                found |= {"drained": away.drained, "lost": away.lost}
        return found

    def _moment(self, seconds: int, old: Document | None, name: str) -> str:
        moment = self._now + timedelta(seconds=seconds)
        before = moment_of(old, name)
        return (before if before and abs(before - moment) <= _SAME_MOMENT else moment).isoformat()


def _rank(old: Document | None, new: Document) -> int:
    if old is None or old.keys() != new.keys():
        return 0
    moved = 0.0
    for name, value in new.items():
        before = old[name]
        if type(value) is not int or type(before) is not int:
            if value != before and name not in ("until", "starts_at"):
                return 0
            moved = max(moved, float(value != before))
        elif value != before:
            moved = max(moved, abs(value - before) / max(min(abs(value), abs(before)), 1))
    return 1 if moved > _MOVED else 2


def moment_of(document: Document | None, name: str) -> datetime | None:
    """A moment in a document: `starts_at` (the estimate), `until` (of a reservation)."""
    text = (document or {}).get(name)
    return datetime.fromisoformat(text) if text else None


def readable(document: Document | None) -> Document | None:
    """A document as it is read; None when there is none, or one of before reasons had numbers: it is told anew soon."""
    if document is None or ("message" in document and document["code"] not in _HELD):
        return None
    return document


def reason_of(document: Document) -> Reason | None:
    """The scheduler's reason, None when it is not the scheduler that holds it back."""
    if document["code"] in _HELD:
        return None
    return msgspec.convert({"starts_in": 0, "message": document.get("fault", ""), **document}, Reason)


def explain(document: Document, *, moment: datetime | None = None, whose: str | None = None) -> str:
    """Say it to the person whose session waits.

    Args:
        moment: of STARTS_LATER and RETRY_LATER.
        whose: LIMIT_REACHED: as the reader may know the one whose limit it is, such as `the group 'vision'`; None: not
            at all.
    """
    if document.get("unconnected"):
        rest = {name: value for name, value in document.items() if name != "unconnected"}
        return f"All its containers must be on one node, since nodes have no network between them (their engines are not in one Docker Swarm). {explain(rest)}"
    match reason_of(document):
        case None:
            return _held(document["code"], moment)
        case LimitReached() as reason if whose is None:
            asked = slots.describe(reason.slot, reason.asked)
            asks = "" if reason.slot == "sessions" else f"It asks for {asked}; "
            return f"{asks}{'a' if asks else 'A'} limit that is not yours to see has no room for it now."
        case LimitReached() as reason:
            return sentence(reason, amount=slots.describe, name=lambda _: whose or "")
        case NoAgents() as reason:
            return _no_agents(document.get("drained", 0), document.get("lost", 0))
        case DesignatedAgentsUnavailable():
            return "No agent that it may run on takes new sessions now."
        case NoAgentFits(slot=slot) as reason if pieces.plain(slot)[1]:
            return _in_pieces(reason)
        case Reserved():
            until = moment_of(document, "until")
            return (
                "There is room, but it is kept for a session that waits longer and starts by "
                f"{until:%Y-%m-%d %H:%M} UTC. With a maximum duration that ends before, it could go first."
            )
        case SchedulerFailed() as reason:
            return f"Nothing can be placed in its resource group now, because the {reason.plugin} failed."
        case reason:
            return sentence(reason, amount=slots.describe)


def _held(code: str, moment: datetime | None) -> str:
    at = f" {moment:%Y-%m-%d %H:%M:%S} UTC" if moment else " its time"
    match code:
        case "STARTS_LATER":
            return f"It is not to start before{at}."
        case "RETRY_LATER":
            return f"Its start failed; it is tried again from{at} on."
        case _:
            return "It waits until the sessions that it depends on have succeeded."


def _no_agents(drained: int, lost: int) -> str:
    if not drained and not lost:
        return "Its resource group has no agents."
    parts = [f"{count} {how}" for count, how in ((drained, "drained"), (lost, "not connected")) if count]
    return f"No agent of its resource group takes new sessions now: {' and '.join(parts)}."


def _in_pieces(reason: NoAgentFits) -> str:
    slot, _ = pieces.plain(reason.slot)
    asked = slots.describe(slot, reason.asked)
    if reason.largest_free < reason.asked:
        return f"It asks for {asked} in one piece; no device has so much free."
    return f"It asks for {asked} in one piece; the agent that comes nearest to all that it asks for has no device with so much free."
