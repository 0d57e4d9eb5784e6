"""Baselines of the scheduler: plain loops over agents with Decimal amounts.

`Tracked` is the published way of cluster session managers that keep amounts as mappings of Decimals: for each session and
each of its kernels every agent's state is what it is known to have in use plus what this pass has added (a sum of
mappings), agents are filtered by architecture, number of containers and each slot asked for, and the strategy takes the
least of a key that is made from a difference of mappings: slots that the session has no use for, then what is left by
priority. Limits of keypair, group and domain are checked the same way, totals plus request against the cap, slot by
slot. It writes no records, no metrics, and reads no database, all of which those systems do for each session.

`Lean` makes the same decisions with everything that can be left out left out: what is free is kept up to date in one
mapping an agent, and what does not fit is never ranked.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from scheduler.snapshot import SESSIONS

ZERO = Decimal(0)
PRIORITIES = ("cuda.device", "cuda.shares", "tpu.device", "cpu", "mem")
MOST_CONTAINERS = 1000


class Slots(dict[str, Decimal]):
    """Amounts by name; what is not named is none."""

    def __add__(self, other: "Slots") -> "Slots":
        return Slots({key: self.get(key, ZERO) + other.get(key, ZERO) for key in self.keys() | other.keys()})

    def __sub__(self, other: "Slots") -> "Slots":
        return Slots({key: self.get(key, ZERO) - other.get(key, ZERO) for key in self.keys() | other.keys()})

    def within(self, other: "Slots") -> bool:
        """Is there of nothing that `other` names more than it says?"""
        return all(self.get(key, ZERO) <= most for key, most in other.items())


def amounts(row: dict[str, int]) -> Slots:
    return Slots({slot: Decimal(amount) / 1000 for slot, amount in row.items()})


class Tracked:
    """See above."""

    def __init__(
        self, agents: list[dict[str, Any]], requests: list[dict[str, Any]], limits: list[Any]
    ) -> None:
        self._agents = [
            {
                **agent,
                "capacity": amounts(agent["capacity"]),
                "used": amounts(agent["used"]),
                "added": Slots(),
                "containers": 0,
            }
            for agent in agents
        ]
        self._requests = [{**request, "slots": amounts(request["slots"])} for request in requests]
        self._used: dict[str, Slots] = {}
        self._caps: dict[str, Slots] = {}
        for scope, slot, used, cap in limits:
            scale = 1 if slot == SESSIONS else 1000
            self._used.setdefault(scope, Slots())[slot] = Decimal(used) / scale
            self._caps.setdefault(scope, Slots())[slot] = Decimal(cap or 0) / scale

    def decisions(self) -> Iterator[bool]:
        for request in self._requests:
            yield self._decide(request)

    def _decide(self, request: dict[str, Any]) -> bool:
        asked, kernels = request["slots"], request["kernels"]
        total = Slots({slot: amount * kernels for slot, amount in asked.items()})
        total[SESSIONS] = Decimal(1)
        for scope in request["scopes"]:
            if scope in self._caps and not (self._used[scope] + total).within(self._caps[scope]):
                return False
        chosen: list[dict[str, Any]] = []
        for _ in range(kernels):
            best = self._select(request)
            if best is None:
                for agent in chosen:
                    agent["added"], agent["containers"] = agent["added"] - asked, agent["containers"] - 1
                return False
            best["added"], best["containers"] = best["added"] + asked, best["containers"] + 1
            chosen.append(best)
        for scope in request["scopes"]:
            if scope in self._used:
                self._used[scope] = self._used[scope] + total
        return True

    def _select(self, request: dict[str, Any]) -> dict[str, Any] | None:
        fitting = [agent for agent in self._agents if self._fits(agent, request)]
        return min(fitting, key=lambda agent: self._key(agent, request), default=None)

    @staticmethod
    def _fits(agent: dict[str, Any], request: dict[str, Any]) -> bool:
        if agent["architecture"] != request["architecture"] or agent["containers"] >= MOST_CONTAINERS:
            return False
        state = agent["used"] + agent["added"]
        return all(
            agent["capacity"].get(slot, ZERO) - state.get(slot, ZERO) >= amount
            for slot, amount in request["slots"].items()
        )

    @staticmethod
    def _key(agent: dict[str, Any], request: dict[str, Any]) -> tuple[Any, ...]:
        asked = request["slots"]
        left = agent["capacity"] - (agent["used"] + agent["added"])
        extras = sum(slot not in asked and amount > 0 for slot, amount in left.items())
        by_priority = [left.get(slot, ZERO) - asked.get(slot, ZERO) for slot in PRIORITIES]
        return extras, by_priority, request["image"] not in agent["images"], agent["id"]


class Lean:
    """See above."""

    def __init__(
        self, agents: list[dict[str, Any]], requests: list[dict[str, Any]], limits: list[Any]
    ) -> None:
        self.agents = [
            {**agent, "free": {s: Decimal(n - agent["used"][s]) / 1000 for s, n in agent["capacity"].items()}}
            for agent in agents
        ]
        slots = {slot for agent in agents for slot in agent["capacity"]}
        self.largest = {
            slot: max(Decimal(agent["capacity"].get(slot, 0)) / 1000 for agent in agents) for slot in slots
        }
        self.limits: dict[str, dict[str, list[Decimal]]] = {}
        for scope, slot, used, cap in limits:
            scale = 1 if slot == SESSIONS else 1000
            self.limits.setdefault(scope, {})[slot] = [Decimal(used) / scale, Decimal(cap or 0) / scale]
        self.requests = [
            {**request, "slots": {s: Decimal(n) / 1000 for s, n in request["slots"].items()}}
            for request in requests
        ]

    def decisions(self) -> Iterator[bool]:
        for request in self.requests:
            yield self._allowed(request) and self._place(request)

    def _charges(self, request: dict[str, Any]) -> Iterator[tuple[list[Decimal], Decimal]]:
        for scope in request["scopes"]:
            for slot, cell in self.limits.get(scope, {}).items():
                amount = (
                    Decimal(1)
                    if slot == SESSIONS
                    else request["slots"].get(slot, Decimal(0)) * request["kernels"]
                )
                if amount:
                    yield cell, amount

    def _allowed(self, request: dict[str, Any]) -> bool:
        return all(cell[0] + amount <= cell[1] for cell, amount in self._charges(request))

    def _place(self, request: dict[str, Any]) -> bool:
        chosen = []
        for _ in range(request["kernels"]):
            best = min(
                (agent for agent in self.agents if self._fits(agent, request)),
                key=lambda agent: (self._left(agent), request["image"] not in agent["images"], agent["id"]),
                default=None,
            )
            if best is None:
                for agent in chosen:
                    self._take(agent, request, -1)
                return False
            self._take(best, request, 1)
            chosen.append(best)
        for cell, amount in self._charges(request):
            cell[0] += amount
        return True

    @staticmethod
    def _fits(agent: dict[str, Any], request: dict[str, Any]) -> bool:
        return agent["architecture"] == request["architecture"] and all(
            agent["free"].get(slot, Decimal(0)) >= amount for slot, amount in request["slots"].items()
        )

    def _left(self, agent: dict[str, Any]) -> Decimal:
        return sum((amount / self.largest[slot] for slot, amount in agent["free"].items()), Decimal(0))

    @staticmethod
    def _take(agent: dict[str, Any], request: dict, sign: int) -> None:
        for slot, amount in request["slots"].items():
            agent["free"][slot] -= sign * amount
