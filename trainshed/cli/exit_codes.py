"""Exit codes and error messages of commands."""

import errno
import json
import logging
import re
import sys
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, TypeGuard

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from typer.core import TyperGroup
from typer.exceptions import TyperException

from shared.lifecycle import JobState
from shared.schemas.refusals import told
from shared.settings import Settings, invalid_settings
from trainshed.cli import options
from trainshed.cli.options import ANYWHERE
from trainshed.cli.output import discard, say
from trainshed.errors import ClientError, InvalidArgument, TrainshedApiError, UsageError


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
    """Commands that report each expected error in one line on stderr, and by an exit code.

    With `--json` the line is a JSON document, still on stderr, so that stdout holds results alone.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options of all commands, which may be given anywhere."""
        _hide_types_of_switches(self, ctx)
        return super().parse_args(ctx, _with_those_of_all_commands_first(args))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, prepared to show its help."""
        command = super().get_command(ctx, cmd_name)
        for each in (command, *getattr(command, "commands", {}).values()):
            if each is not None:
                _hide_types_of_switches(each, ctx)
        return command

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        as_json = "--json" in _before_separator([*ctx._protected_args, *ctx.args])
        # with --json, stderr has one document and nothing else
        logging.getLogger("trainshed").setLevel(logging.ERROR if as_json else logging.NOTSET)
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except (ClientError, ValidationError, SettingsError) as error:
            messages = list(_messages(error, ctx.meta.get(options.COMMAND)))
            if as_json:
                _write_error(error, messages)
            else:
                for message in messages:
                    say(f"Error: {message}", "red")
            raise typer.Exit(_exit_code(error)) from error
        except TyperException as error:  # a usage error from the parser
            options.advise(error)
            if not as_json:
                raise
            _write_error(error, [error.format_message()])
            raise typer.Exit(ExitCode.USAGE) from error
        except OSError as error:
            raise _output_failed(error) from error


def _hide_types_of_switches(command: Any, ctx: Any) -> None:
    """Hide the type that a command's help shows after each switch, as if the switch took a value."""
    for parameter in command.get_params(ctx):
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""


def _with_those_of_all_commands_first(args: list[str]) -> list[str]:
    """Move the options that may be given anywhere to the front, before the command."""
    first, rest = [], []
    own = _before_separator(args)
    arguments = iter(own)
    for argument in arguments:
        if argument in ANYWHERE:
            first += [argument, *(value for value in [next(arguments, None)] if value is not None)]
        elif argument.startswith(tuple(f"{name}=" for name in ANYWHERE)):
            first.append(argument)
        else:
            rest.append(argument)
    return [*first, *rest, *args[len(own) :]]


def _before_separator(args: list[str]) -> list[str]:
    return args[: args.index("--")] if "--" in args else args


def _write_error(error: Exception, messages: list[str]) -> None:
    """Write an error as one line of JSON to stderr: the server's problem document, or one of its form."""
    if isinstance(error, TrainshedApiError):
        document = error.problem.model_dump(mode="json", exclude_none=True)
    else:
        kind = type(error).__name__.removesuffix("Error")
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind).lower()
        document = {
            "type": words.replace(" ", "-"),
            "title": words.capitalize(),
            "detail": "; ".join(messages),
        }
    typer.echo(json.dumps({"error": document}), err=True)


def _output_failed(error: OSError) -> Exception:
    """Return the exception that ends a command whose output could not be written."""
    if error.errno not in (errno.EPIPE, errno.ENOSPC) or error.filename:
        return error
    discard()
    if error.errno == errno.EPIPE:
        return typer.Exit(ExitCode.DONE)  # the reader, such as `head`, has ended
    say(f"Error: the output cannot be written: {error.strerror}", "red")
    return typer.Exit(ExitCode.FAILED)


def _exit_code(error: Exception) -> ExitCode:
    if isinstance(error, TrainshedApiError):
        return ExitCode.USAGE if 400 <= error.problem.status < 500 else ExitCode.FAILED
    usage = isinstance(error, UsageError | ValidationError | SettingsError)
    return ExitCode.USAGE if usage else ExitCode.FAILED


def _messages(error: Exception, command: Any) -> Iterator[str]:
    if isinstance(error, SettingsError) or _is_of_settings(error):
        yield from invalid_settings(error)
    elif isinstance(error, ValidationError | InvalidArgument):
        details = error.details if isinstance(error, InvalidArgument) else error.errors()
        for detail in details:
            yield told(options.typed(command, detail["loc"]), detail)
    elif isinstance(error, TrainshedApiError) and error.problem.errors:
        for problem in error.problem.errors:
            path = str(problem.get("pointer") or problem.get("parameter") or "").strip("/").split("/")
            place = options.typed(command, path)
            yield f"{place}: {problem.get('detail')}" if place else str(problem.get("detail"))
    else:
        yield str(error)


def _is_of_settings(error: Exception) -> TypeGuard[ValidationError]:
    return isinstance(error, ValidationError) and error.title == Settings.__name__
