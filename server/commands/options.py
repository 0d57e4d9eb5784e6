"""Options that several commands have, and the configuration that results."""

from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from server.config import Config

data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where database, secrets and logs live.  [default: .berth here if there is one, else ~/.local/state/berth]",
)
host = click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
port = click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on.  [default: 8080]")
insecure = click.option(
    "--insecure",
    is_flag=True,
    default=None,
    help="Listen on a public address although there is neither TLS nor a declared proxy.",
)


def load_config(**given: Any) -> Config:
    """The configuration; what is None was not given on the command line.

    Raises:
        click.ClickException: a setting is wrong; the message names each.
    """
    try:
        config = Config(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise click.ClickException("\n".join(["These settings are wrong:", *lines])) from error
    except ValueError as error:  # berth.toml is no TOML
        raise click.ClickException(f"berth.toml cannot be read: {error}") from error
    return config.model_copy(update={"data_dir": config.data_dir.expanduser().absolute()})
