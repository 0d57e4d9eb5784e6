"""`berth graphql`: one operation from the command line, signed with a keypair."""

import asyncio
import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click

from server.client import Client, ClientFailure, Credentials, is_subscription
from server.paths import credentials_file, default_data_dir


@click.command(
    epilog="""\b
Examples:
  berth graphql '{ viewer { user { email } role } }'
  berth graphql 'query($s: String) { users(filter: {search: $s}) { nodes { email } } }' --variables '{"s": "kim"}'
  berth graphql - <operation.graphql
  berth graphql 'subscription { sessionEvents { kind session { name status } } }'      one JSON line an event

Exit status 1 when the answer has errors. BERTH_CREDENTIALS names another credentials file.
"""
)
@click.argument("query")
@click.option("--variables", "-v", default="", help="The operation's variables, as JSON.")
@click.option(
    "--operation", "-o", default=None, help="Name of the operation, where the document has several."
)
@click.option("--url", default="", help="Of the manager, instead of the credentials' own.")
@click.option(
    "--credentials",
    "path",
    envvar="BERTH_CREDENTIALS",
    type=click.Path(path_type=Path, dir_okay=False),
    help="JSON file with url, access_key and secret_key.  [default: credentials.json of the data directory]",
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Where credentials.json lies."
)
@click.option(
    "--ca-file", type=click.Path(exists=True, dir_okay=False), help="PEM file of trusted authorities."
)
def graphql(
    query: str,
    variables: str,
    operation: str | None,
    url: str,
    path: Path | None,
    data_dir: Path | None,
    ca_file: str | None,
) -> None:
    """Send a query, mutation or subscription and print the answer as JSON. QUERY - reads it from standard input."""
    document = sys.stdin.read() if query == "-" else query
    given = _variables(variables)
    try:
        found = Credentials.read(path or credentials_file(data_dir or default_data_dir()))
        credentials = Credentials(url.rstrip("/") or found.url, found.access_key, found.secret_key)
        run = _follow if is_subscription(document) else _ask
        failed = asyncio.run(run(Client(credentials, ca_file=ca_file), document, given, operation))
    except ClientFailure as failure:
        raise click.ClickException(str(failure)) from failure
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if failed else 0)


async def _ask(client: Client, query: str, variables: dict[str, Any], operation: str | None) -> bool:
    async with client:
        answer = await client.execute(query, variables, operation)
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    return bool(answer.get("errors"))


async def _follow(client: Client, query: str, variables: dict[str, Any], operation: str | None) -> bool:
    failed = False
    async with client, aclosing(client.subscribe(query, variables, operation)) as answers:
        async for answer in answers:
            click.echo(json.dumps(answer, ensure_ascii=False))
            failed = failed or bool(answer.get("errors"))
    return failed


def _variables(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        given = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"is no JSON: {error}", param_hint="--variables") from error
    if not isinstance(given, dict):
        raise click.BadParameter("is no JSON object", param_hint="--variables")
    return given
