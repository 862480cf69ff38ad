"""Findings of an examination, and the type of the checks that make them."""

from collections.abc import Callable, Iterator
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from shared.settings import Settings

TIMEOUT_S = 5.0
"""Seconds for which a check waits for a server."""


class Severity(StrEnum):
    """The severity of a finding, in ascending order."""

    OK = "ok"
    WARNING = "warning"  # jobs run, but something needs attention
    ERROR = "error"  # jobs do not run, or are lost


class Finding(BaseModel):
    """A result of a check.

    Attributes:
        subject: the checked component, such as `database`.
        advice: the remedy; empty if none is needed.
    """

    model_config = ConfigDict(frozen=True)

    subject: str
    severity: Severity
    message: str
    advice: str = ""


Check = Callable[[Settings], Iterator[Finding]]
"""A check, which waits a few times `TIMEOUT_S` at most, and yields faults as findings, not as exceptions."""


def ok(subject: str, message: str) -> Finding:
    """Return a finding that nothing is wrong."""
    return Finding(subject=subject, severity=Severity.OK, message=message)


def warning(subject: str, message: str, advice: str) -> Finding:
    """Return a finding that an operator should know."""
    return Finding(subject=subject, severity=Severity.WARNING, message=message, advice=advice)


def error(subject: str, message: str, advice: str) -> Finding:
    """Return a finding of a fault that keeps jobs from running, or may lose them."""
    return Finding(subject=subject, severity=Severity.ERROR, message=message, advice=advice)
