"""Everything on one machine: a manager and an agent as children of one supervisor, from start to Ctrl-C.

lock ─▶ manager serves ─▶ agent is connected ─▶ link is shown ─▶ images are built, the demo filled in ─▶ until a signal
"""

import asyncio
import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from agents.cli import choose_runtime
from agents.config import BadState, StateDir, make_runtime
from agents.runtimes.contract import RuntimeFailure
from server import sample_images
from server.announcements import Announcement
from server.client import Client, ClientFailure
from server.commands.progress import Progress
from server.config import Config
from server.demo import Demo
from server.paths import credentials_file, write_private
from server.supervisor import Child, Command

#: Seconds for the manager to serve (a migration may be long), and for the agent to be connected.
MANAGER_SECONDS: Final = 120.0
AGENT_SECONDS: Final = 30.0
_PROBE_SECONDS: Final = 10.0

_SANDBOX = (
    "Sessions run as processes in a bubblewrap sandbox, not in containers: with an own home and own process and user "
    "namespaces, but with this machine's programs and network, and with limits of memory and cpu only where the system "
    "lets an agent set them. It is not for users who do not trust each other. For containers start a Docker engine, "
    "then `berth up --runtime docker`."
)


class LocalFailure(Exception):
    """It could not be brought up. The message says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """What is wanted of this start."""

    runtime: str = "auto"
    agent: bool = True
    images: bool = True
    demo: bool = False


class Local:
    """One start on this machine."""

    def __init__(self, config: Config, plan: Plan, progress: Progress) -> None:
        self._config = config
        self._plan = plan
        self._progress = progress
        self._logs = config.data_dir / "logs"
        self._notes = Notes(config.data_dir / "up.json")
        self._state = StateDir(config.data_dir / "agent")
        self._announced: asyncio.Queue[Announcement] = asyncio.Queue()
        self._manager_url = ""
        self._join_token = ""
        self._runtime = ""

    async def run(self) -> None:
        """Bring all up and keep it up until cancelled; then stop it in order.

        Raises:
            LocalFailure: the manager or the agent could not be brought up; what had been is stopped again.
        """
        began = time.monotonic()
        self._config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(self._config.data_dir) as alone:
            if not alone:
                self._progress.say(f"Berth is running here already: {self._notes.read().get('url', '')}")
                return
            manager = Child(
                "manager", self._manager_command, self._logs / "manager.log", on_exit=self._ended("manager")
            )
            agent = Child(
                "agent", self._agent_command, self._logs / "agent.log", on_exit=self._ended("agent")
            )
            # Looking for an engine takes a second, which the manager needs too.
            choosing = asyncio.create_task(self._choose_runtime()) if self._plan.agent else None
            try:
                announced = await self._start_manager(manager)
                if choosing is not None:
                    await self._start_agent(agent, *await choosing)
                self._show(announced, time.monotonic() - began)
                await asyncio.gather(self._hear_again(), self._afterwards())
            finally:
                if choosing is not None:
                    choosing.cancel()
                    await asyncio.gather(choosing, return_exceptions=True)
                await self._stop(manager, agent)

    # The manager

    async def _start_manager(self, manager: Child) -> Announcement:
        with self._progress.phase("Starting the manager") as phase:
            manager.start()
            announced = await self._hear(manager)
            self._manager_url, self._join_token = announced.local_url, announced.join_token
            phase.result = announced.url
        # Begun again, it shall be where the agent and the browsers look for it, also when any port would do at first.
        port = urlsplit(announced.local_url).port
        self._config = self._config.model_copy(update={"port": port or self._config.port})
        self._notes.add(url=announced.url)
        return announced

    async def _hear_again(self) -> None:
        """A manager that was begun again has made a new link, and the one before it is void."""
        while True:
            announced = await self._announced.get()
            self._join_token = announced.join_token
            self._progress.say("The manager serves again.")
            self._show_link(announced)

    async def _hear(self, manager: Child) -> Announcement:
        """The announcement of a manager that has just been started."""
        heard = asyncio.create_task(self._announced.get())
        ended = asyncio.create_task(manager.ended.wait())
        try:
            done, _ = await asyncio.wait(
                {heard, ended}, timeout=MANAGER_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if heard in done:
                return heard.result()
        finally:
            heard.cancel()
            ended.cancel()
        what = "ended" if done else f"did not serve within {MANAGER_SECONDS:g} s"
        raise LocalFailure(f"The manager {what}. The end of {manager.log}:\n{manager.tail()}")

    def _manager_command(self) -> Command:
        reader, writer = os.pipe()
        loop = asyncio.get_running_loop()
        received = bytearray()

        def read() -> None:
            if part := os.read(reader, 65536):
                received.extend(part)
                return
            loop.remove_reader(reader)
            os.close(reader)
            if received:
                self._announced.put_nowait(Announcement.read(bytes(received)))

        loop.add_reader(reader, read)
        return Command(
            [*_berth(), "manager", "--announce-fd", str(writer)],
            {
                **_environment(),
                "BERTH_DATA_DIR": str(self._config.data_dir),
                "BERTH_HOST": self._config.host,
                "BERTH_PORT": str(self._config.port),
                "BERTH_INSECURE": str(self._config.insecure).lower(),
            },
            (writer,),
        )

    # The agent

    async def _start_agent(self, agent: Child, runtime: str, note: str) -> None:
        self._runtime = runtime
        with self._progress.phase("Starting the agent") as phase:
            began = time.time()
            agent.start()
            connected = await self._connected(agent, began)
            phase.result = f"runtime {self._runtime}"
        if note:
            self._progress.warn(note)
        if self._runtime == "process":
            self._progress.warn(_SANDBOX)
        if not connected:
            self._progress.warn(f"The agent is not connected yet; see {agent.log}. It goes on trying.")

    async def _choose_runtime(self) -> tuple[str, str]:
        """The runtime, and what is to be said about it.

        The one of earlier starts is kept: sessions that run in it would be given up by an agent with another.
        """
        before = self._notes.read().get("runtime")
        wanted = before if self._plan.runtime == "auto" and before else self._plan.runtime
        usable = await self._usable(wanted)
        note = ""
        if before == "docker" and wanted == "docker" and not usable:
            note = "The Docker engine does not answer. Its sessions return when it does; start it."
        elif not usable:
            raise LocalFailure(
                f"No {wanted if wanted != 'auto' else ''} runtime works here. `berth doctor` says what is missing, "
                "`berth up --no-agent` starts the manager alone."
            )
        chosen = usable or wanted
        if before not in (None, chosen):
            note = f"The runtime was {before}: sessions that still run in it are out of reach until it is chosen again."
        self._notes.add(runtime=chosen)
        return chosen, note

    async def _usable(self, wanted: str) -> str:
        """The name of a runtime that works here, empty when none does."""
        self._state.prepare()
        if wanted == "auto":
            with contextlib.suppress(BadState):
                return (await choose_runtime(wanted, self._state, {})).name
            return ""
        runtime = make_runtime(wanted, self._state, {})
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                await runtime.open()
                await runtime.fingerprint()
        except (RuntimeFailure, TimeoutError):
            return ""
        finally:
            await runtime.close()
        return wanted

    async def _connected(self, agent: Child, since: float) -> bool:
        def connected() -> bool:
            # What an earlier agent wrote does not count.
            status = self._state.status() or {}
            return bool(status.get("connected")) and float(status.get("at", 0)) >= since

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AGENT_SECONDS):
                while not connected():
                    if agent.starts >= 3:
                        raise LocalFailure(
                            f"The agent ends again and again. The end of {agent.log}:\n{agent.tail()}"
                        )
                    await asyncio.sleep(0.05)
                return True
        return False

    def _agent_command(self) -> Command:
        environment = {**_environment(), "BERTH_STATE_DIR": str(self._state.path)}
        if self._state.credential() is None:
            environment["BERTH_JOIN_TOKEN"] = self._join_token
        return Command(
            [
                *_berth(),
                "agent",
                "run",
                "--manager",
                self._manager_url,
                "--runtime",
                self._runtime,
                "--insecure",
            ],
            environment,
        )

    # What is shown, and what is done once all runs

    def _show(self, announced: Announcement, seconds: float) -> None:
        say = self._progress.say
        say("")
        say(f"Berth is up after {seconds:.1f} s: {announced.url}", "bold")
        self._show_link(announced)
        say("")
        say(f"Data in {self._config.data_dir}, logs in {self._logs}")
        say(
            f"Credentials for scripts in {credentials_file(self._config.data_dir)}; try: berth graphql '{{ viewer {{ role }} }}'"
        )
        say("Ctrl-C stops Berth; sessions go on.")
        say("")

    def _show_link(self, announced: Announcement) -> None:
        if announced.owner_link:
            self._progress.say("")
            self._progress.say(f"Log in as {announced.owner_email} with this link; it works once, for a day:")
            self._progress.say(f"  {announced.owner_link}", "bold cyan")

    async def _afterwards(self) -> None:
        """Build images and fill in the demo; neither failing stops Berth."""
        if self._plan.agent and self._plan.images and self._runtime == "docker":
            try:
                await sample_images.build(self._progress, self._logs / "images.log")
            except OSError as error:
                self._progress.warn(f"The sample images could not be built: {error}")
        if self._plan.demo:
            try:
                client = Client.of_file(credentials_file(self._config.data_dir), url=self._manager_url)
                async with client:
                    await Demo(client, self._config.data_dir, self._progress).fill()
            except ClientFailure as failure:
                self._progress.warn(f"The demo could not be filled in: {failure}. Try again: berth demo")

    def _ended(self, name: str) -> Callable[[int, float], None]:
        def tell(status: int, pause: float) -> None:
            self._progress.warn(
                f"The {name} ended (status {status}) and begins again in {pause:.1f} s; see {self._logs / name}.log"
            )

        return tell

    async def _stop(self, manager: Child, agent: Child) -> None:
        self._progress.say("Stopping; sessions go on.")
        # The agent first: it says goodbye to a manager that still listens.
        await agent.stop()
        await manager.stop()


class Notes:
    """What one start remembers for the next: a small JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Any]:
        try:
            content = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def add(self, **values: Any) -> None:
        write_private(self._path, json.dumps({**self.read(), **values}, indent=2))


@contextlib.contextmanager
def _alone(data_dir: Path) -> Generator[bool]:
    """Hold the data directory; False while another start does."""
    with (data_dir / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _berth() -> list[str]:
    """This installation's own command line."""
    return [sys.executable, "-m", "server.cli"]


def _environment() -> dict[str, str]:
    """Ours, with the programs of this installation (bwrap) to be found."""
    own = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": f"{own}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
    }
