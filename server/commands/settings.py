"""`berth config`: the settings in effect."""

import json
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from server.commands import options
from server.config import Config
from services.options import OPTIONS

_MASK = "********"


@click.command(
    epilog="""\b
Examples:
  berth config
  BERTH_PORT=9000 berth config --json
"""
)
@options.data_dir
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def config(data_dir: Path | None, as_json: bool) -> None:
    """Print the manager's settings as they are in effect, secrets masked.

    Later wins: defaults, berth.toml (here, or BERTH_CONFIG), BERTH_* variables, the command line.
    """
    settings = options.load_config(data_dir=data_dir)
    shown = {name: masked(name, getattr(settings, name)) for name in Config.model_fields}
    if as_json:
        click.echo(json.dumps(shown, indent=2))
        return
    for name, value in shown.items():
        description = Config.model_fields[name].description
        click.echo(f"{name} = {json.dumps(value)}{f'    # {description}' if description else ''}")


def masked(name: str, value: Any) -> Any:
    """A setting's value without what nobody should read over a shoulder."""
    if isinstance(value, SecretStr):
        return _MASK
    if isinstance(value, Path):
        return str(value)
    if name == "settings":
        return {key: _MASK if OPTIONS[key].secret and one else one for key, one in value.items()}
    if name.endswith("_url") and value:
        try:
            return make_url(value).render_as_string(hide_password=True)
        except ArgumentError:
            return _MASK
    return value
