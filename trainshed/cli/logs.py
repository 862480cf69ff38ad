"""`trainshed logs`: what a job's attempts logged."""

from typing import Annotated

import typer
from rich.text import Text

from shared.schemas import JobLogLine, LogLevel
from trainshed.cli import options
from trainshed.cli.exit_codes import ExitCode
from trainshed.cli.output import show, write_json
from trainshed.cli.references import find_job

_STYLES = {LogLevel.WARNING: "yellow", LogLevel.ERROR: "red", LogLevel.CRITICAL: "bold red"}

Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Go on until the job ends; Ctrl-C leaves it running.")
]
Level = Annotated[LogLevel, typer.Option(help="The least important level.")]
Grep = Annotated[str, typer.Option(help="Only messages that have this text.", show_default=False)]


def logs(
    ctx: typer.Context,
    job: options.JobReference,
    follow: Follow = False,
    level: Level = LogLevel.DEBUG,
    grep: Grep = "",
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Show what a job's attempts logged; with --follow --json, one JSON document a line."""
    with options.server(ctx, url) as server:
        lines = server.logs(find_job(server, job), level=level, text=grep, follow=follow)
        if as_json and not follow:
            write_json(lines)
            return
        try:
            for line in lines:
                typer.echo(line.model_dump_json()) if as_json else show(_shown(line))
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.DETACHED) from None


def _shown(line: JobLogLine) -> Text:
    fields = "".join(f" {name}={value}" for name, value in line.fields.items())
    text = f"{line.at.astimezone():%H:%M:%S.%f} {line.level:8} {line.message}{fields}"
    printable = "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
    return Text(printable, _STYLES.get(line.level, ""))
