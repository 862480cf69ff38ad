"""Findings of an examination, and what they are found with."""

from collections.abc import Callable, Iterator
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from shared.settings import Settings

TIMEOUT_S = 5.0
"""How long each check waits for a server."""


class Severity(StrEnum):
    """How bad a finding is, best first."""

    OK = "ok"
    WARNING = "warning"  # jobs run, but something is to be expected
    ERROR = "error"  # jobs do not run, or are lost


class Finding(BaseModel):
    """What a check has found.

    Attributes:
        subject: what was checked, such as `database`.
        advice: what to do; empty if nothing is to be done.
    """

    model_config = ConfigDict(frozen=True)

    subject: str
    severity: Severity
    message: str
    advice: str = ""


Check = Callable[[Settings], Iterator[Finding]]
"""A check: it waits at most for a few times `TIMEOUT_S`, and raises nothing for what it is to find."""


def ok(subject: str, message: str) -> Finding:
    """Return that nothing is wrong."""
    return Finding(subject=subject, severity=Severity.OK, message=message)


def warning(subject: str, message: str, advice: str) -> Finding:
    """Return something that an operator should know."""
    return Finding(subject=subject, severity=Severity.WARNING, message=message, advice=advice)


def error(subject: str, message: str, advice: str) -> Finding:
    """Return something that keeps jobs from running, or may lose them."""
    return Finding(subject=subject, severity=Severity.ERROR, message=message, advice=advice)
