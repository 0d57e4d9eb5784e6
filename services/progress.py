"""How far image pulls are, in memory: for those who look in the middle of one."""

from services.bus import Bus, Lagged, PullAdvanced

#: Pulls remembered at most; the oldest is forgotten first.
_KEPT = 10_000


class ProgressBook:
    """The newest progress of each session's pull."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._pulls: dict[str, PullAdvanced] = {}

    def of(self, session_id: str) -> PullAdvanced | None:
        return self._pulls.get(session_id)

    async def follow_bus(self) -> None:
        """Take what is told, for ever."""
        while True:
            async with self._bus.subscribe(PullAdvanced) as hints:
                try:
                    async for hint in hints:
                        self._pulls.pop(hint.session_id, None)
                        self._pulls[hint.session_id] = hint
                        if len(self._pulls) > _KEPT:
                            del self._pulls[next(iter(self._pulls))]
                except Lagged:
                    continue
