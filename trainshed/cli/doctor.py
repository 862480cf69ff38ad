"""The command that examines this host: `trainshed doctor`."""

from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from shared.settings import get_settings
from trainshed.cli import options
from trainshed.cli.exit_codes import ExitCode
from trainshed.cli.formatting import printable
from trainshed.cli.output import show, write_json
from trainshed.local.extras import require

if TYPE_CHECKING:
    from trainshed.doctor.findings import Finding

_STYLES = {"ok": "green", "warning": "yellow", "error": "red"}


def doctor(as_json: options.Json = False) -> None:
    """Check this host, its settings and the services that they name; exit code 1 if jobs cannot run."""
    require("server")
    # imported here, since an installation of the client alone lacks its dependencies
    from trainshed.doctor.examination import examine

    findings = []
    for finding in examine(get_settings()):
        findings.append(finding)
        if not as_json:
            show(_row(finding))
    if as_json:
        write_json(findings)
    worst = max((finding.severity for finding in findings), key=list(_STYLES).index)
    raise typer.Exit(ExitCode.FAILED if worst == "error" else ExitCode.DONE)


def _row(finding: "Finding") -> Table:
    severity = finding.severity.value
    text = Text(printable(finding.message))
    if finding.advice:
        text.append(f"\n{printable(finding.advice)}", "bold")
    row = Table.grid(padding=(0, 1))
    row.add_column(width=7, style=_STYLES[severity])
    row.add_column(width=13)
    row.add_column(overflow="fold")
    row.add_row(severity, finding.subject, text)
    return row
