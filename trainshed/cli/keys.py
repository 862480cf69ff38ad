"""The commands about API keys: `trainshed keys create | list | change | revoke`."""

from collections.abc import Sequence
from math import inf
from typing import Annotated, Any

import typer

from shared.schemas import ApiKey, ApiKeyCreate, ApiKeyUpdate, Me, Scope
from trainshed.cli import options
from trainshed.cli.formatting import age, seconds_until
from trainshed.cli.output import confirm, say, write_json, write_result
from trainshed.cli.references import find_key
from trainshed.cli.tables import key_table

_DAY_S = 86_400

app = typer.Typer(help="Create, list, change and revoke API keys.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The user or program of the key.")]
ScopeName = Annotated[
    Scope, typer.Option("--scope", help="What the key permits; each scope includes the ones before it.")
]
Days = Annotated[
    float | None, typer.Option("--days", min=0.001, help="Days until it expires.", show_default="never")
]
_weight = typer.Option(
    "--weight", min=0.01, max=100, help="Its part of the slots' time, beside 1 of another key."
)
Weight = Annotated[float, _weight]
NewWeight = Annotated[float | None, _weight]
Team = Annotated[
    str | None,
    typer.Option(help="Its team, whose keys change each other's jobs, sweeps and models.", metavar="TEAM"),
]
NewTeam = Annotated[
    str | None, typer.Option("--team", help='Its team from now on; "" for none.', metavar="TEAM")
]
Urgent = Annotated[
    bool, typer.Option("--urgent", help="Let it submit urgent jobs, as those with scope `admin` always may.")
]
NewUrgent = Annotated[
    bool | None, typer.Option("--urgent/--no-urgent", help="Whether it may submit urgent jobs.")
]
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
    team: Team = None,
    urgent: Urgent = False,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Create an API key and print it; it cannot be displayed again."""
    request = ApiKeyCreate(
        name=name,
        scope=scope,
        expires_in_s=None if days is None else days * _DAY_S,
        weight=weight,
        max_running=_limit(max_running),
        team=team,
        may_urgent=urgent,
    )
    me = server.me()
    before = server.api_keys() if me.scope is Scope.ADMIN else ()
    created = server.create_api_key(request)
    if as_json:
        write_json(created)
    else:
        typer.echo(created.key)
        say(f"Give this key to {name} and keep no copy: it is not shown again. Its id is {created.id}.")
    _warn(me, before, [*before, created])


@app.command(name="list")
def list_keys(server: options.Server, as_json: options.Json = False) -> None:
    """List keys, newest first."""
    keys = server.api_keys()
    write_result(keys, key_table, as_json=as_json, if_empty="No keys.")
    if keys:
        _warn(server.me(), keys, keys)


@app.command()
def change(
    *,
    key: KeyReference,
    weight: NewWeight = None,
    max_running: MaxRunning = None,
    team: NewTeam = None,
    urgent: NewUrgent = None,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Change a key's team and rights, the weight of its later jobs, and how many run at the same time.

    A revoked key may get a team too: the keys of the team may then change its jobs, sweeps and models.
    """
    changes: dict[str, Any] = {"weight": weight} if weight is not None else {}
    if max_running is not None:
        changes["max_running"] = _limit(max_running)
    if team is not None:
        changes["team"] = team or None
    if urgent is not None:
        changes["may_urgent"] = urgent
    if not changes:
        raise typer.BadParameter(
            "name at least one change: --weight, --max-running, --team, --urgent or --no-urgent"
        )
    changed = server.change_api_key(find_key(server.api_keys(), key), ApiKeyUpdate.model_validate(changes))
    at_most = f"at most {changed.max_running}" if changed.max_running else "any number"
    message = (
        f"Key {changed.id} has weight {changed.weight:g}, and {at_most} of its jobs run at the same time."
    )
    if changes.keys() & {"team", "may_urgent"}:
        may = "may" if changed.may_urgent else "may not"
        message += f" It has {_team(changed)}, and {may} submit urgent jobs."
    confirm(changed, message, as_json=as_json)


def _team(key: ApiKey) -> str:
    return f"the team {key.team}" if key.team else "no team"


def _limit(max_running: str | None) -> int | None:
    return None if max_running in (None, options.NO_LIMIT) else int(max_running)


@app.command()
def revoke(key: KeyReference, server: options.Server, as_json: options.Json = False) -> None:
    """Revoke a key, at once and for good."""
    me, before = server.me(), server.api_keys()
    key_id = find_key(before, key)
    server.revoke_api_key(key_id)
    confirm({"revoked": str(key_id)}, f"Key {key_id} is revoked.", as_json=as_json)
    _warn(me, before, [each for each in before if each.id != key_id])


def _warn(me: Me, before: Sequence[ApiKey], now: Sequence[ApiKey]) -> None:
    """Warn if nobody, or anybody on the server's host, can create keys."""
    by_setting = me.key_id is None and any(not key.revoked_at for key in before)
    if not by_setting and (warning := _danger(now)):
        say(f"Warning: {warning}", "yellow")


def _danger(keys: Sequence[ApiKey]) -> str:
    """Return a warning about these keys, which assumes that API_KEYS has none; empty if all is well."""
    unrevoked = [key for key in keys if not key.revoked_at]
    if not unrevoked:
        return (
            "no key is left. Unless the server's setting API_KEYS has one, its host needs no key now, and "
            "has admin access."
        )
    last_s = max(
        (seconds_until(key.expires_at) for key in unrevoked if key.scope is Scope.ADMIN), default=0.0
    )
    if last_s <= 0:
        return (
            "no key with scope `admin` is valid. Only a key of the server's setting API_KEYS can create one."
        )
    if last_s < inf:
        return (
            f"no key with scope `admin` is valid in {age(last_s)}. Create another before; then only a key of "
            "the server's setting API_KEYS could."
        )
    return ""
