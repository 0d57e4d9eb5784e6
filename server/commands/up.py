"""`berth up`: manager and a local agent on this machine, under one supervisor."""

import asyncio
from pathlib import Path

import click

from agents.cli import until_signalled
from agents.config import BadState
from server.commands import options
from server.commands.progress import Progress
from server.listening import CannotServe, check_exposure
from server.local import Local, LocalFailure, Plan

_RUNTIMES = ("auto", "docker", "process")


@click.command(
    epilog="""\b
Examples:
  berth up                          everything on http://127.0.0.1:8080
  berth up --demo                   the same, with people, groups and sessions to look at
  berth up --runtime process        without a container engine, in a sandbox
  berth up --port 9000 --data-dir ~/berth
  BERTH_ADMIN_EMAIL=me@example.com BERTH_ADMIN_PASSWORD=… berth up      unattended

Ctrl-C stops manager and agent; sessions go on and are found again by the next start.
"""
)
@options.host
@options.port
@options.data_dir
@options.insecure
@click.option(
    "--runtime",
    type=click.Choice(_RUNTIMES),
    default="auto",
    show_default=True,
    help="What sessions run in; auto: Docker where an engine answers, and what was used before.",
)
@click.option("--demo", is_flag=True, help="Fill in users, groups, policies and sessions.")
@click.option("--no-agent", is_flag=True, help="The manager alone; agents join from elsewhere.")
@click.option("--no-images", is_flag=True, help="Do not build the sample images.")
def up(
    host: str | None,
    port: int | None,
    data_dir: Path | None,
    insecure: bool | None,
    runtime: str,
    demo: bool,
    no_agent: bool,
    no_images: bool,
) -> None:
    """Bring everything up on this machine: manager, console, and an agent that runs the sessions.

    The first start makes all that is needed and prints a one-time link that logs you in; later starts keep all data.
    """
    config = options.load_config(host=host, port=port, data_dir=data_dir, insecure=insecure)
    plan = Plan(runtime=runtime, agent=not no_agent, images=not no_images, demo=demo)
    try:
        check_exposure(config)
        asyncio.run(until_signalled(Local(config, plan, Progress()).run()))
    except (CannotServe, LocalFailure, BadState) as error:
        raise click.ClickException(str(error)) from error
