"""`berth demo`: a cluster to look at."""

import asyncio
from pathlib import Path

import click

from server.client import Client, ClientFailure
from server.commands.progress import Progress
from server.demo import Demo
from server.paths import credentials_file, default_data_dir


@click.command(
    epilog="""\b
Examples:
  berth demo                 on the manager of this machine
  berth up --demo            the same at the start
"""
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Where credentials.json lies."
)
@click.option("--url", default="", help="Of the manager, instead of the credentials' own.")
def demo(data_dir: Path | None, url: str) -> None:
    """Fill in people, groups, resource policies and sessions through the API. What is there already stays as it is."""
    directory = (data_dir or default_data_dir()).expanduser().absolute()
    try:
        asyncio.run(_fill(directory, url))
    except ClientFailure as failure:
        raise click.ClickException(str(failure)) from failure


async def _fill(directory: Path, url: str) -> None:
    async with Client.of_file(credentials_file(directory), url=url) as client:
        await Demo(client, directory, Progress()).fill()
