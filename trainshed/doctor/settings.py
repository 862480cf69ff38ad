"""Checks of the settings: names that do not exist, and values that contradict each other."""

from collections.abc import Iterator
from difflib import get_close_matches

from sqlalchemy import make_url

from shared.addresses import is_loopback
from shared.settings import ExposedApi, Settings, unknown_variables
from trainshed.doctor.findings import Finding, error, ok, warning

_SUBJECT = "settings"


def check(settings: Settings) -> Iterator[Finding]:
    """Check the settings by themselves, without connecting to any service."""
    findings = [*_unknown(), *_contradictions(settings)]
    yield from findings or [ok(_SUBJECT, "no setting is unknown or contradicts another")]


def _unknown() -> Iterator[Finding]:
    known = [f"TRAINSHED_{name.upper()}" for name in Settings.model_fields]
    for name in unknown_variables():
        nearest = get_close_matches(name, known, n=1, cutoff=0.8)
        advice = f"did you mean {nearest[0]}?" if nearest else "docs/operations.md lists all settings"
        yield warning(_SUBJECT, f"{name} is not a setting and has no effect", advice)


def _contradictions(settings: Settings) -> Iterator[Finding]:
    try:
        settings.require_guarded()
    except ExposedApi as exposed:
        problem, _, advice = str(exposed).partition(": ")
        yield error(_SUBJECT, problem, advice)
    if _is_sqlite(settings) and _host_of(settings.redis_url):
        yield warning(
            _SUBJECT,
            f"the database is a file of this host, and Redis is on {_host_of(settings.redis_url)}",
            "several hosts need one PostgreSQL: set TRAINSHED_DATABASE_URL on all of them",
        )
    if settings.reconcile_s > settings.lease_s:
        yield warning(
            _SUBJECT,
            f"RECONCILE_S ({settings.reconcile_s:g}) is longer than LEASE_S ({settings.lease_s:g}), so a "
            "lost worker's job waits for a round",
            "decrease RECONCILE_S",
        )
    if settings.download_deadline_s < settings.download_timeout_s:
        yield warning(
            _SUBJECT,
            f"DOWNLOAD_DEADLINE_S ({settings.download_deadline_s:g}) is shorter than DOWNLOAD_TIMEOUT_S "
            f"({settings.download_timeout_s:g}), so a slow download is never repeated",
            "increase DOWNLOAD_DEADLINE_S",
        )
    for name in ("model_retention_s", "log_retention_s"):
        if 0 < settings.job_retention_s < getattr(settings, name):
            yield warning(
                _SUBJECT,
                f"{name.upper()} is longer than JOB_RETENTION_S, after which all of a job is deleted",
                "increase JOB_RETENTION_S, or leave the other one out",
            )


def _is_sqlite(settings: Settings) -> bool:
    return make_url(settings.effective_database_url).get_backend_name() == "sqlite"


def _host_of(url: str) -> str:
    """Return the host that a URL names; empty if that is this host or none."""
    host = make_url(url).host if "://" in url else None
    return "" if host is None or is_loopback(host) else host
