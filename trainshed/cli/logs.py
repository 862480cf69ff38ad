"""The command that shows the log of a job's attempts: `trainshed logs`."""

from typing import Annotated

import typer
from rich.text import Text

from shared.schemas import JobLogLine, LogLevel
from trainshed.cli import options
from trainshed.cli.follow import write_lines
from trainshed.cli.formatting import decimal, millisecond, printable, short_id
from trainshed.cli.output import say
from trainshed.cli.references import find_job

_STYLES = {LogLevel.WARNING: "yellow", LogLevel.ERROR: "red", LogLevel.CRITICAL: "bold red"}

Level = Annotated[LogLevel, typer.Option(help="Least severe level.")]
Grep = Annotated[str, typer.Option(help="Only messages that contain this text.")]


def logs(
    *,
    job: options.JobReference,
    follow: options.Follow = False,
    level: Level = LogLevel.DEBUG,
    grep: Grep = "",
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Show what a job's attempts printed and logged; with --follow --json, one JSON document per line.

    Their phases and epochs are events: `trainshed events` shows them.
    """
    job_id = find_job(server, job)
    lines = server.logs(job_id, level=level, text=grep, follow=follow)
    if not write_lines(lines, _formatted, as_json=as_json, follow=follow) and not as_json:
        say(f"No line. `trainshed events {short_id(job_id)}` shows its phases and epochs.")


def _formatted(line: JobLogLine) -> Text:
    fields = "".join(f" {name}={_value(value)}" for name, value in line.fields.items())
    text = f"{millisecond(line.at)} {line.level:8} {line.message}{fields}"
    return Text(printable(text, allowed="\n"), _STYLES.get(line.level, ""))


def _value(value: object) -> object:
    return decimal(value) if isinstance(value, float) else value
