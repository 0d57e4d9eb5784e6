"""`berth doctor`: what is wrong with this machine, and how to mend it."""

import asyncio
import importlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.markup import escape

from server.doctor import node
from server.doctor.checks import Check, Finding, Verdict, run
from server.paths import default_data_dir

_MARKS: Final = {
    Verdict.OK: "[green]✓[/]",
    Verdict.NOTE: "[blue]·[/]",
    Verdict.WARNING: "[yellow]![/]",
    Verdict.FAILURE: "[red]✗[/]",
}


@click.command(
    epilog="""\b
Examples:
  berth doctor
  berth doctor --json | jq '.[] | select(.verdict == "failure")'

Exit status: 0 nothing fails, 1 something does.
"""
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="The manager's data directory."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(data_dir: Path | None, as_json: bool) -> None:
    """Check engine, sandbox, clock, disk, GPU and versions; where a manager lives also its secrets, settings, database,
    port, health and websockets. Each finding says how to mend it.
    """
    directory = (data_dir or default_data_dir()).expanduser().absolute()
    findings = asyncio.run(run({**node.checks(directory), **_of_manager(directory)}))
    if as_json:
        click.echo(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        show(findings)
    sys.exit(1 if any(finding.verdict is Verdict.FAILURE for finding in findings) else 0)


def show(findings: list[Finding]) -> None:
    """One line a finding, the remedy beneath what is wrong, a count at the end."""
    console = Console(highlight=False, soft_wrap=True)
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        console.print(f"{_MARKS[finding.verdict]} {finding.check:{width}}  {escape(finding.found)}")
        if finding.mend:
            console.print(f"  {'':{width}}  [dim]→ {escape(finding.mend)}[/]")
    counts = Counter(finding.verdict for finding in findings)
    console.print(f"\n{counts[Verdict.FAILURE]} failures, {counts[Verdict.WARNING]} warnings")


def _of_manager(data_dir: Path) -> dict[str, Check]:
    """The manager's checks; none on a node, which lacks their packages."""
    try:
        options = importlib.import_module("server.commands.options")
        manager = importlib.import_module("server.doctor.manager")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(("server", "services", "agents")):
            raise
        return {}
    return manager.checks(options.load_config(data_dir=data_dir))
