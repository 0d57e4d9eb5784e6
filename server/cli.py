"""The `berth` command: a table of commands, each loaded only when it is called.

A node that has the base distribution alone can so run `berth agent …`; a command whose packages are missing says in one
sentence what to install. Nothing here may import more than click.
"""

import importlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import click

_OURS: Final = ("server", "resolvers", "schema", "services", "scheduler", "agents")


@dataclass(frozen=True)
class Entry:
    """A command that is not loaded yet. `extra`: what brings the packages that it needs."""

    target: str
    summary: str
    extra: str = ""


COMMANDS: Final = {
    "up": Entry("server.commands.up:up", "Bring manager and agent up on this machine.", "server"),
    "manager": Entry(
        "server.commands.manager:manager", "Run the manager: API, console, scheduler.", "server"
    ),
    "agent": Entry("agents.cli:agent", "Join this node to a cluster and run its agent."),
    "doctor": Entry("server.commands.doctor:doctor", "Check this machine; say how to mend what is wrong."),
    "link": Entry(
        "server.commands.link:link", "Print a one-time link that logs an administrator in.", "server"
    ),
    "demo": Entry("server.commands.demo:demo", "Fill in users, groups, policies and sessions to look at."),
    "graphql": Entry("server.commands.graphql:graphql", "Send a GraphQL operation, signed with a keypair."),
    "simulate": Entry(
        "server.commands.simulate:simulate_command",
        "Replay a trace of sessions with any scheduler.",
        "server",
    ),
    "config": Entry(
        "server.commands.settings:config", "Print the settings in effect, secrets masked.", "server"
    ),
}


class LazyGroup(click.Group):
    """Commands from `COMMANDS`, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        return load(cmd_name, entry) if entry else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


def load(name: str, entry: Entry) -> click.Command:
    """Import a command.

    Raises:
        click.ClickException: a package that it needs is not installed.
    """
    module, _, attribute = entry.target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _OURS:
            raise
        wanted = f"berth[{entry.extra}]" if entry.extra else "berth"
        raise click.ClickException(
            f"`berth {name}` needs the package {missing!r}, which is not installed here. "
            f"Run: pip install '{wanted}'"
        ) from error


def release() -> str:
    """The installed version."""
    try:
        return version("berth")
    except PackageNotFoundError:
        return "unknown"


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`berth COMMAND --help` shows each command's options and examples.",
)
@click.version_option(release(), prog_name="berth")
def main() -> None:
    """Compute sessions on a cluster: notebooks, terminals and GPUs behind one GraphQL API.

    \b
    Everything on one machine:   berth up
    A second node:               berth agent join URL --token TOKEN
    Something is wrong:          berth doctor
    """


if __name__ == "__main__":
    main()
