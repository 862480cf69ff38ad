"""How a command ends: its exit code, and what it says when it could not be done."""

from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from typer.core import TyperGroup

from shared.lifecycle import JobState
from shared.settings import Settings
from trainshed.cli.output import say
from trainshed.errors import ClientError, TrainshedApiError, UsageError

_OPTIONS = {"tags": "tag", "max_runtime_s": "max-runtime"}  # fields whose option has another name


class ExitCode(IntEnum):
    """What the exit code says."""

    DONE = 0
    FAILED = 1  # the job failed; or the server could not be reached, or failed
    USAGE = 2  # what was asked for cannot be: an option, a value, a job that is not there
    CANCELLED = 3  # the job was cancelled
    DETACHED = 130  # Ctrl-C; the job goes on


OF_STATE = {
    JobState.SUCCEEDED: ExitCode.DONE,
    JobState.FAILED: ExitCode.FAILED,
    JobState.CANCELLED: ExitCode.CANCELLED,
}


class CommandGroup(TyperGroup):
    """Commands whose foreseen errors are one line each on stderr, and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (ClientError, ValidationError, SettingsError) as error:
            for line in _explained(error):
                say(f"Error: {line}", "red")
            raise typer.Exit(_code(error)) from error


def _code(error: Exception) -> ExitCode:
    if isinstance(error, TrainshedApiError):
        return ExitCode.USAGE if 400 <= error.problem.status < 500 else ExitCode.FAILED
    usage = isinstance(error, UsageError | ValidationError | SettingsError)
    return ExitCode.USAGE if usage else ExitCode.FAILED


def _explained(error: Exception) -> Iterator[str]:
    if isinstance(error, ValidationError):
        for one in error.errors():
            message = one["msg"].removeprefix("Value error, ")
            yield _sentence(_named(error.title, one["loc"]), message, one["input"])
    elif isinstance(error, TrainshedApiError) and error.problem.errors:
        for found in error.problem.errors:
            path = str(found.get("pointer") or found.get("parameter") or "").split("/")
            yield _sentence(_option(path), str(found.get("detail")))
    else:
        yield str(error)


def _named(title: str, path: tuple[int | str, ...]) -> str:
    if title == Settings.__name__:
        return "_".join(["TRAINSHED", *(str(part).upper() for part in path)]) if path else ""
    return _option(path)


def _option(path: Any) -> str:
    """The option for a field, by the path to it: its last name, for a number counts a list's items."""
    names = [str(part) for part in path if not str(part).isdigit()]
    name = names[-1] if names else ""
    return f"--{_OPTIONS.get(name, name.replace('_', '-'))}" if name not in ("", "spec") else ""


def _sentence(where: str, message: str, given: Any = None) -> str:
    shown = f" {given}" if where and isinstance(given, str | int | float) else ""
    return f"{where}{shown}: {message}" if where else message
