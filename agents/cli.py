"""`berth agent …`: join a cluster, run the node's daemon, look how it is."""

import asyncio
import contextlib
import json
import logging
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from agents import logs
from agents.config import AUTO, BadState, Credential, StateDir, make_inventory, make_runtime, runtimes
from agents.daemon import Agent
from agents.joining import JoinFailed, join
from agents.journal import Journal
from agents.link import LinkRejected
from agents.runtimes.contract import Runtime, RuntimeFailure
from agents.sockets import Manager, UnsafeManager

log = logging.getLogger(__name__)

#: Exit codes beside click's own 1 and 2.
EXIT_REJECTED = 3
EXIT_NOT_RUNNING = 4

#: Seconds between writes of the status file, between looks whether there is news, and for a runtime to show that it works.
_STATUS_SECONDS = 5.0
_CHANGE_SECONDS = 0.2
_PROBE_SECONDS = 10.0

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _common(command: _Command) -> _Command:
    for option in (
        click.option(
            "--state-dir", envvar="BERTH_STATE_DIR", type=click.Path(file_okay=False, path_type=Path)
        ),
        click.option("--insecure", is_flag=True, help="Allow a manager without TLS on another machine."),
        click.option(
            "--ca-file",
            envvar="BERTH_CA_FILE",
            type=click.Path(exists=True, dir_okay=False),
            help="PEM file of the authorities that may vouch for the manager.",
        ),
    ):
        command = option(command)
    return command


@click.group()
def agent() -> None:
    """A node of the cluster."""


@agent.command("join")
@click.argument("url")
@click.option(
    "--token", envvar="BERTH_JOIN_TOKEN", required=True, help="Made on the agents page; works once."
)
@click.option("--name", default=socket.gethostname, help="The node's name in the cluster.")
@click.option("--resource-group", default="", help="Checked against the token's.")
@click.option("--runtime", envvar="BERTH_RUNTIME", default="auto", show_default=True)
@_common
def join_command(
    url: str,
    token: str,
    name: str,
    resource_group: str,
    runtime: str,
    state_dir: Path | None,
    insecure: bool,
    ca_file: str | None,
) -> None:
    """Make this machine a node of the manager at URL."""
    directory = _state_dir(state_dir)
    with _told():
        manager = Manager.at(url, insecure=insecure, ca_file=ca_file)
        directory.prepare()
        with directory.lock():
            if known := directory.credential():
                raise BadState(f"this node is {known.agent_id} of {known.manager} already")
            work = join(manager, token, name=name, runtime=runtime, resource_group=resource_group)
            credential = asyncio.run(work)
            directory.keep(credential)
    click.echo(f"Joined {manager.url} as {name} ({credential.agent_id}). Start it with `berth agent run`.")


@agent.command("run")
@click.option("--manager", "url", envvar="BERTH_MANAGER_URL", help="Needed until the node has joined.")
@click.option("--join-token", envvar="BERTH_JOIN_TOKEN", help="Joins first when the node has not yet.")
@click.option("--name", envvar="BERTH_AGENT_NAME", default=socket.gethostname)
@click.option("--resource-group", default="")
@click.option("--runtime", envvar="BERTH_RUNTIME", default="auto", show_default=True)
@click.option("--runtime-option", "options", multiple=True, metavar="KEY=VALUE", help="For the runtime.")
@click.option(
    "--accelerator",
    "accelerators",
    envvar="BERTH_ACCELERATORS",
    multiple=True,
    metavar="NAME[:KEY=VALUE,…]",
    help="A plug-in for devices with its options, as `cuda:mode=shares`; `none` for none. By default those that are "
    "installed look for theirs. In the environment: separated by spaces.",
)
@click.option("--region", envvar="BERTH_REGION", default="")
@click.option(
    "--log-format", envvar="BERTH_LOG_FORMAT", type=click.Choice(["plain", "json"]), default="plain"
)
@click.option("--log-level", envvar="BERTH_LOG_LEVEL", default="info")
@click.option(
    "--exit-if-rejected", is_flag=True, help=f"Exit with {EXIT_REJECTED} instead of trying on slowly."
)
@_common
def run_command(
    url: str | None,
    join_token: str | None,
    name: str,
    resource_group: str,
    runtime: str,
    options: tuple[str, ...],
    accelerators: tuple[str, ...],
    region: str,
    log_format: logs.Format,
    log_level: str,
    exit_if_rejected: bool,
    state_dir: Path | None,
    insecure: bool,
    ca_file: str | None,
) -> None:
    """Run the node's daemon until SIGTERM or Ctrl-C. Sessions go on without it."""
    logs.configure(log_format, log_level)
    directory = _state_dir(state_dir)
    settings = _options(options)

    async def work() -> None:
        credential = directory.credential()
        where = url or (credential.manager if credential else None)
        if where is None:
            raise BadState("the node has not joined: give --manager and --join-token, or `berth agent join`")
        manager = Manager.at(where, insecure=insecure, ca_file=ca_file)
        inventory = make_inventory(accelerators, directory)
        chosen = await choose_runtime(runtime, directory, settings)
        if credential is None:
            credential = await _join(directory, manager, join_token, name, chosen.name, resource_group)
        daemon = Agent(
            chosen,
            Journal(directory.journal),
            manager,
            credential.credential,
            disk=directory.path,
            region=region,
            exit_when_rejected=exit_if_rejected,
            accelerators=inventory,
        )
        log.info("agent %s, runtime %s, manager %s", credential.agent_id, chosen.name, manager.url)
        await _serve(daemon, directory)

    with _told():
        directory.prepare()
        with directory.lock():
            asyncio.run(until_signalled(work()))


@agent.command("status")
@click.option("--json", "as_json", is_flag=True)
@click.option("--state-dir", envvar="BERTH_STATE_DIR", type=click.Path(file_okay=False, path_type=Path))
def status_command(as_json: bool, state_dir: Path | None) -> None:
    """Say how this machine's agent is. Exit code 0 only while it is connected."""
    directory = _state_dir(state_dir)
    with _told():
        credential = directory.credential()
    running = directory.is_locked()
    status = (directory.status() if running else None) or {}
    connected = bool(status.get("connected"))
    answer: dict[str, Any] = {
        **status,
        "agent": credential.agent_id if credential else None,
        "manager": credential.manager if credential else None,
        "running": running,
        "connected": connected,
    }
    click.echo(json.dumps(answer) if as_json else _for_people(answer))
    if not connected:
        raise SystemExit(EXIT_NOT_RUNNING)


async def choose_runtime(name: str, directory: StateDir, options: dict[str, str]) -> Runtime:
    """The runtime of this name; for `auto` the first of `AUTO` that opens and tells what it is.

    Raises:
        BadState: unknown, or `auto` found none that works.
    """
    if name != "auto":
        return make_runtime(name, directory, options)
    reasons: list[str] = []
    for candidate in (known for known in AUTO if known in runtimes()):
        runtime = make_runtime(candidate, directory, options)
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                await runtime.open()
                await runtime.fingerprint()
        except (RuntimeFailure, TimeoutError) as error:
            reasons.append(f"{candidate}: {error or 'no answer'}")
        else:
            return make_runtime(candidate, directory, options)
        finally:
            await runtime.close()
    raise BadState("no runtime works here: " + "; ".join(reasons))


async def until_signalled(work: Coroutine[Any, Any, None]) -> None:
    """Run until it ends, or SIGTERM or SIGINT ends it in order."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _join(
    directory: StateDir, manager: Manager, token: str | None, name: str, runtime: str, resource_group: str
) -> Credential:
    if not token:
        raise BadState("the node has not joined: give --join-token, made on the agents page")
    credential = await join(manager, token, name=name, runtime=runtime, resource_group=resource_group)
    directory.keep(credential)
    return credential


async def _serve(daemon: Agent, directory: StateDir) -> None:
    async def write_status() -> None:
        written: dict[str, object] = {}
        due = 0.0
        while True:
            # At once when something has changed: whoever starts an agent waits for it to be connected.
            if daemon.status() != written or time.monotonic() >= due:
                written, due = daemon.status(), time.monotonic() + _STATUS_SECONDS
                with contextlib.suppress(BadState):  # a full disk: the daemon says so where it matters
                    directory.write_status({**written, "at": time.time()})
            await asyncio.sleep(_CHANGE_SECONDS)

    writer = asyncio.create_task(write_status())
    try:
        await daemon.run()
    finally:
        writer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writer


@contextlib.contextmanager
def _told():
    """Errors that a person can mend, as one sentence and an exit code."""
    try:
        yield
    except LinkRejected as rejected:
        click.echo(f"Error: {rejected}", err=True)
        raise SystemExit(EXIT_REJECTED) from rejected
    except (BadState, JoinFailed, UnsafeManager, RuntimeFailure) as error:
        raise click.ClickException(str(error)) from error


def _state_dir(given: Path | None) -> StateDir:
    return StateDir(given) if given else StateDir.default()


def _options(pairs: tuple[str, ...]) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--runtime-option")
        options[key] = value
    return options


def _for_people(answer: dict[str, Any]) -> str:
    if not answer["agent"]:
        return "This machine has not joined a cluster: `berth agent join URL --token TOKEN`."
    state = (
        "connected" if answer["connected"] else "running, not connected" if answer["running"] else "stopped"
    )
    lines = [f"{answer['agent']} of {answer['manager']}: {state}"]
    if answer["running"]:
        kernels = answer.get("kernels", [])
        lines.append(
            f"runtime {answer.get('runtime')}, {len(kernels)} kernels, "
            f"{answer.get('unacknowledged', 0)} events not acknowledged"
        )
    return "\n".join(lines)
