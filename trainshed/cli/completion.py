"""Shell completion of ids, names and aliases that the server knows; none if the server is unavailable."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from trainshed.cli.formatting import printable, short_id
from trainshed.client import Client
from trainshed.errors import ClientError

_TRY_S = 0.5  # to connect, and again to respond: Tab takes a second at most
_NEWEST = 50


class _Choice(NamedTuple):
    value: str
    about: str


_Choices = Callable[[Client], Iterable[_Choice]]


def _complete(ctx: typer.Context, incomplete: str, choices: _Choices) -> list[tuple[str, str]]:
    options = ctx.find_root().params
    connect = ctx.find_root().obj or partial(Client, timeout_s=_TRY_S, patience_s=0.0)
    try:
        with connect(options.get("url"), api_key=options.get("api_key")) as server:
            return [
                (choice.value, printable(choice.about))
                for choice in choices(server)
                if choice.value.startswith(incomplete)
            ]
    except (ClientError, ValidationError, SettingsError):
        return []


def jobs(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Complete the end of a job's id, a whole id, or `last`."""
    return _complete(ctx, incomplete, partial(_jobs, whole_ids=bool(incomplete)))


def models(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Complete a model's alias, or the end of its job's id."""
    return _complete(ctx, incomplete, _models)


def sweeps(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Complete the end of a sweep's id, or `last`."""
    return _complete(ctx, incomplete, _sweeps)


def queues(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Complete a queue's name."""
    return _complete(ctx, incomplete, _queues)


def workers(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Complete a worker's id."""
    return _complete(ctx, incomplete, _workers)


def _jobs(server: Client, *, whole_ids: bool) -> Iterator[_Choice]:
    yield _Choice("last", "the newest job")
    for job in server.jobs(limit=_NEWEST):
        about = f"{job.state} {job.name or job.kind}"
        yield _Choice(short_id(job.id), about)
        if whole_ids:  # else each job would be listed twice
            yield _Choice(str(job.id), about)


def _models(server: Client) -> Iterator[_Choice]:
    yield _Choice("last", "the model of the newest job")
    for model, _ in zip(server.models(), range(_NEWEST), strict=False):
        about = f"{model.kind or 'model'} trained on {model.dataset or 'other data'}"
        if model.alias:
            yield _Choice(model.alias, about)
        yield _Choice(short_id(model.job_id), about)


def _sweeps(server: Client) -> Iterator[_Choice]:
    yield _Choice("last", "the newest sweep")
    for sweep, _ in zip(server.sweeps(), range(_NEWEST), strict=False):
        yield _Choice(short_id(sweep.id), sweep.name or "")


def _queues(server: Client) -> Iterator[_Choice]:
    return (_Choice(queue.name, "paused" if queue.paused else "") for queue in server.queues())


def _workers(server: Client) -> Iterator[_Choice]:
    return (_Choice(worker.id, worker.state) for worker in server.workers())
