"""What a long command shows: phases with their seconds. Live on a terminal, plain lines where there is none."""

import contextlib
import time
from collections.abc import Generator

from rich.console import Console
from rich.markup import escape
from rich.status import Status


class Progress:
    """Shows phases one after another, and notices between them."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._status: Status | None = None

    @contextlib.contextmanager
    def phase(self, what: str) -> Generator["Phase"]:
        """One phase; its seconds are shown at its end, a cross when it raises."""
        phase = Phase(self, what)
        began = time.monotonic()
        if self._console.is_terminal:
            self._status = self._console.status(escape(what))
            self._status.start()
        try:
            yield phase
        except BaseException:
            self._stop()
            self._console.print(f"[red]✗[/] {escape(what)}")
            raise
        self._stop()
        result = f": {phase.result}" if phase.result else ""
        seconds = time.monotonic() - began
        self._console.print(f"[green]✓[/] {escape(what)}{escape(result)} [dim]({seconds:.1f} s)[/]")

    def say(self, text: str, style: str = "") -> None:
        """A line of its own, also while a phase is shown."""
        self._console.print(escape(text), style=style or None)

    def warn(self, text: str) -> None:
        self._console.print(f"[yellow]![/] {escape(text)}")

    def detail(self, what: str, text: str) -> None:
        """What is going on within a phase: on a terminal it replaces what was shown before, elsewhere it is left out."""
        if self._status is not None:
            self._status.update(f"{escape(what)} [dim]{escape(text[:100])}[/]")

    def _stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


class Phase:
    """A phase under way; `result` is shown at its end."""

    def __init__(self, progress: Progress, what: str) -> None:
        self._progress = progress
        self._what = what
        self.result = ""

    def detail(self, text: str) -> None:
        self._progress.detail(self._what, text)
