"""`berth manager`: the manager alone, for a service unit or a container."""

import logging
from pathlib import Path

import click

from agents import logs
from server import serve
from server.commands import options
from server.config import Config
from server.listening import CannotServe
from server.manager import Manager
from server.readiness import announce
from services import requests


@click.command(
    epilog="""\b
Examples:
  berth manager                                        on 127.0.0.1:8080, SQLite in the data directory
  berth manager --port 9000 --data-dir /var/lib/berth
  BERTH_DATABASE_URL=postgresql+asyncpg://berth@db/berth BERTH_REDIS_URL=redis://cache berth manager
  BERTH_TRUSTED_PROXIES=10.0.0.2 BERTH_PUBLIC_URL=https://berth.example.com berth manager --host 0.0.0.0

Settings come from berth.toml and BERTH_* variables too: see `berth config`.
"""
)
@options.host
@options.port
@options.data_dir
@options.insecure
@click.option("--announce-fd", type=int, hidden=True, help="Write one JSON line here once it serves.")
def manager(
    host: str | None,
    port: int | None,
    data_dir: Path | None,
    insecure: bool | None,
    announce_fd: int | None,
) -> None:
    """Run the manager: GraphQL API, console, scheduler and the doors of the agents.

    The first start makes the database, the secrets and a first administrator, and prints the one-time link with which
    the administrator chooses a password. SIGTERM and Ctrl-C end it in order; sessions go on.
    """
    config = options.load_config(host=host, port=port, data_dir=data_dir, insecure=insecure)
    logs.configure(config.log_format, "info", requests.labels)
    # It names the path of every websocket, and a terminal's or a stream's path is its ticket.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)

    async def on_ready(settled: Config, running: Manager) -> None:
        await announce(settled, running, announce_fd)

    try:
        serve.run(config, on_ready)
    except CannotServe as error:
        raise click.ClickException(str(error)) from error
