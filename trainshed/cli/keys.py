"""The commands about API keys: `trainshed keys create | list | revoke`."""

from typing import Annotated
from uuid import UUID

import typer

from shared.schemas import ApiKeyCreate, Scope
from trainshed.cli import options
from trainshed.cli.output import say, show, write_json
from trainshed.cli.tables import key_table

_DAY_S = 86_400

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Who or what the key is given to.", show_default=False)]
ScopeName = Annotated[
    Scope, typer.Option("--scope", help="What its holder may do; each includes the ones before it.")
]
Days = Annotated[
    float | None, typer.Option("--days", min=0.001, help="Days until it expires.", show_default="never")
]
KeyId = Annotated[UUID, typer.Argument(metavar="ID", help="The key's id, as `list` shows it.")]


@app.command()
def create(
    ctx: typer.Context,
    name: Name,
    scope: ScopeName = Scope.READ,
    days: Days = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Make a key; its text is shown once."""
    request = ApiKeyCreate(name=name, scope=scope, expires_in_s=None if days is None else days * _DAY_S)
    with options.server(ctx, url) as server:
        created = server.create_api_key(request)
    if as_json:
        write_json(created)
        return
    typer.echo(created.key)
    say(f"Give it to {name} and keep no copy: it is not shown again. Its id: {created.id}")


@app.command(name="list")
def list_keys(ctx: typer.Context, url: options.Url = None, as_json: options.Json = False) -> None:
    """List the keys, newest first."""
    with options.server(ctx, url) as server:
        found = server.api_keys()
    if as_json:
        write_json(found)
    elif found:
        show(key_table(found))
    else:
        say("There is no key.")


@app.command()
def revoke(ctx: typer.Context, key: KeyId, url: options.Url = None, as_json: options.Json = False) -> None:
    """End a key, at once and for good."""
    with options.server(ctx, url) as server:
        server.revoke_api_key(key)
    if as_json:
        write_json({"revoked": str(key)})
    else:
        say(f"The key {key} opens nothing any more.")
