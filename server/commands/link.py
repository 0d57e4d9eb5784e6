"""`berth link`: back in as an administrator, for whoever holds the data directory."""

import asyncio
from pathlib import Path

import click

from server import owners
from server.commands import options
from server.config import Config
from server.secretsfile import UnsafeSecrets


@click.command(
    epilog="""\b
Examples:
  berth link                            for the oldest administrator
  berth link --email kim@example.com
"""
)
@click.option("--email", default="", help="Address of the administrator.")
@options.data_dir
def link(email: str, data_dir: Path | None) -> None:
    """Print a link that logs an administrator in once, and lets them choose a new password.

    Works on the data directory itself, whether or not a manager runs: for a forgotten password, or a link that expired.
    """
    config = options.load_config(data_dir=data_dir)
    try:
        config = config.model_copy(update={"public_url": config.public_url or owners.last_url(config)})
        found = asyncio.run(_make(config, email))
    except (owners.NoSuchOwner, UnsafeSecrets) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"For {found.email}, once, within a day:", err=True)
    click.echo(found.url)


async def _make(config: Config, email: str) -> owners.Link:
    async with owners.opened(config) as core:
        return await owners.link(core, email)
