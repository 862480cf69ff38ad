"""The commands about API keys: `trainshed keys create | list | revoke`."""

from typing import Annotated
from uuid import UUID

import typer

from shared.schemas import ApiKeyCreate, Scope
from trainshed.cli import options
from trainshed.cli.output import confirm, say, write_json, write_result
from trainshed.cli.tables import key_table

_DAY_S = 86_400

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Who or what the key is for.")]
ScopeName = Annotated[
    Scope, typer.Option("--scope", help="What the key permits; each scope includes the ones before it.")
]
Days = Annotated[
    float | None, typer.Option("--days", min=0.001, help="Days until it expires.", show_default="never")
]
Weight = Annotated[
    float,
    typer.Option("--weight", min=0.01, max=100, help="How many of its jobs start for one of another key."),
]
KeyId = Annotated[UUID, typer.Argument(metavar="ID", help="The key's id, as listed by `keys list`.")]


@app.command()
def create(
    *,
    name: Name,
    scope: ScopeName = Scope.READ,
    days: Days = None,
    weight: Weight = 1.0,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Create an API key and print it; it cannot be displayed again."""
    lifetime_s = None if days is None else days * _DAY_S
    request = ApiKeyCreate(name=name, scope=scope, expires_in_s=lifetime_s, weight=weight)
    created = server.create_api_key(request)
    if as_json:
        write_json(created)
        return
    typer.echo(created.key)
    say(f"Give this key to {name} and keep no copy: it is not shown again. Its id is {created.id}.")


@app.command(name="list")
def list_keys(server: options.Server, as_json: options.Json = False) -> None:
    """List keys, newest first."""
    keys = server.api_keys()
    write_result(keys, key_table, as_json=as_json, if_empty="No keys.")


@app.command()
def revoke(key: KeyId, server: options.Server, as_json: options.Json = False) -> None:
    """Revoke a key, at once and for good."""
    server.revoke_api_key(key)
    confirm({"revoked": str(key)}, f"Key {key} is revoked.", as_json=as_json)
