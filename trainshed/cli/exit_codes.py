"""How a command ends: its exit code, and its error messages."""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from typer.core import TyperGroup

from shared.lifecycle import JobState
from shared.settings import Settings, invalid_settings
from trainshed.cli.output import say
from trainshed.errors import ClientError, TrainshedApiError, UsageError

_OPTION_NAMES = {"tags": "tag", "max_runtime_s": "max-runtime"}  # fields whose option has another name


class ExitCode(IntEnum):
    """The exit codes of all commands."""

    DONE = 0
    FAILED = 1  # the job failed, or the server could not be reached or failed
    USAGE = 2  # an invalid option, value or reference
    CANCELLED = 3  # the job was cancelled
    DETACHED = 130  # Ctrl-C; the job continues


EXIT_CODES = {
    JobState.SUCCEEDED: ExitCode.DONE,
    JobState.FAILED: ExitCode.FAILED,
    JobState.CANCELLED: ExitCode.CANCELLED,
}


class CommandGroup(TyperGroup):
    """Commands that report each expected error in one line on stderr, and by an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (ClientError, ValidationError, SettingsError) as error:
            for message in _messages(error):
                say(f"Error: {message}", "red")
            raise typer.Exit(_exit_code(error)) from error


def _exit_code(error: Exception) -> ExitCode:
    if isinstance(error, TrainshedApiError):
        return ExitCode.USAGE if 400 <= error.problem.status < 500 else ExitCode.FAILED
    usage = isinstance(error, UsageError | ValidationError | SettingsError)
    return ExitCode.USAGE if usage else ExitCode.FAILED


def _messages(error: Exception) -> Iterator[str]:
    if isinstance(error, ValidationError) and error.title == Settings.__name__:
        yield from invalid_settings(error)
    elif isinstance(error, ValidationError):
        for detail in error.errors():
            message = detail["msg"].removeprefix("Value error, ")
            yield _located(_option(detail["loc"]), message, detail["input"])
    elif isinstance(error, TrainshedApiError) and error.problem.errors:
        for problem in error.problem.errors:
            path = str(problem.get("pointer") or problem.get("parameter") or "").split("/")
            yield _located(_option(path), str(problem.get("detail")))
    else:
        yield str(error)


def _option(path: Sequence[int | str]) -> str:
    """Return the option for the field at this path, which may end with indexes of a list; empty if none."""
    names = [str(part) for part in path if not str(part).isdigit()]
    name = names[-1] if names else ""
    return f"--{_OPTION_NAMES.get(name, name.replace('_', '-'))}" if name not in ("", "spec") else ""


def _located(source: str, message: str, value: Any = None) -> str:
    if not source:
        return message
    return f"{source} {value}: {message}" if isinstance(value, str | int | float) else f"{source}: {message}"
