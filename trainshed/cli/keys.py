"""The commands about API keys: `trainshed keys create | list | change | revoke`."""

from typing import Annotated, Any

import typer

from shared.schemas import ApiKeyCreate, ApiKeyUpdate, Scope
from trainshed.cli import options
from trainshed.cli.output import confirm, say, write_json, write_result
from trainshed.cli.references import find_key
from trainshed.cli.tables import key_table

_DAY_S = 86_400

app = typer.Typer(help="Create, list, change and revoke API keys.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Who or what the key is for.")]
ScopeName = Annotated[
    Scope, typer.Option("--scope", help="What the key permits; each scope includes the ones before it.")
]
Days = Annotated[
    float | None, typer.Option("--days", min=0.001, help="Days until it expires.", show_default="never")
]
_weight = typer.Option(
    "--weight", min=0.01, max=100, help="How many of its jobs start for one of another key."
)
Weight = Annotated[float, _weight]
NewWeight = Annotated[float | None, _weight]
MaxRunning = Annotated[
    str | None,
    typer.Option(
        "--max-running",
        metavar="N|none",
        help="How many of its jobs may run at the same time.",
        parser=options.at_most,
    ),
]
KeyReference = Annotated[
    str, typer.Argument(metavar="KEY", help="The key's id, or the end of its id, as `keys list` shows it.")
]


@app.command()
def create(
    *,
    name: Name,
    scope: ScopeName = Scope.READ,
    days: Days = None,
    weight: Weight = 1.0,
    max_running: MaxRunning = None,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Create an API key and print it; it cannot be displayed again."""
    lifetime_s = None if days is None else days * _DAY_S
    request = ApiKeyCreate(
        name=name, scope=scope, expires_in_s=lifetime_s, weight=weight, max_running=_limit(max_running)
    )
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
def change(
    *,
    key: KeyReference,
    weight: NewWeight = None,
    max_running: MaxRunning = None,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Change the weight of a key's later jobs, or how many of its jobs run at the same time."""
    changes: dict[str, Any] = {"weight": weight} if weight is not None else {}
    if max_running is not None:
        changes["max_running"] = _limit(max_running)
    if not changes:
        raise typer.BadParameter("say what to change: --weight, --max-running, or both")
    changed = server.change_api_key(find_key(server, key), ApiKeyUpdate.model_validate(changes))
    at_most = f"at most {changed.max_running}" if changed.max_running else "any number"
    message = (
        f"Key {changed.id} has weight {changed.weight:g}, and {at_most} of its jobs run at the same time."
    )
    confirm(changed, message, as_json=as_json)


def _limit(max_running: str | None) -> int | None:
    return None if max_running in (None, options.NO_LIMIT) else int(max_running)


@app.command()
def revoke(key: KeyReference, server: options.Server, as_json: options.Json = False) -> None:
    """Revoke a key, at once and for good."""
    server.revoke_api_key(key)
    confirm({"revoked": str(key)}, f"Key {key} is revoked.", as_json=as_json)
