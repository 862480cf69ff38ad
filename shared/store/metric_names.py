"""The names of the metrics that jobs have recorded, by which jobs are sorted and ranked."""

from difflib import get_close_matches
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, exists, func, select
from sqlalchemy.orm import Session, aliased

from shared.db.tables import IS_RUNNING, Job, JobValue
from shared.errors import UnknownMetric

_LISTED = 20  # names in the message of an error


def recorded(session: Session, sweep_id: UUID | None = None) -> list[str]:
    """Return the sorted names of the last values of ended and running jobs: of all jobs, or of a sweep's."""
    of_running = select(Job.last_values).where(IS_RUNNING)
    if sweep_id is not None:
        of_running = of_running.where(Job.sweep_id == sweep_id)
    running = {name for values in session.scalars(of_running) for name in values}
    return sorted(running.union(_of_ended(session, sweep_id)))


def require(session: Session, name: str) -> None:
    """Raise UnknownMetric if jobs have recorded metrics, but none of this name."""
    if session.scalar(select(exists().where(JobValue.name == name))):
        return
    known = recorded(session)
    if known and name not in known:
        raise unknown(name, known)


def unknown(name: str, known: list[str]) -> UnknownMetric:
    """Return the error of a name that is not among the known ones, of which there must be at least one."""
    nearest = get_close_matches(name, known, n=1)
    hint = f": did you mean `{nearest[0]}`?" if nearest else "."
    more = f" and {len(known) - _LISTED:,} more" if len(known) > _LISTED else ""
    return UnknownMetric(
        f"no job has recorded a metric {name!r}{hint} Recorded are {', '.join(known[:_LISTED])}{more}"
    )


def _of_ended(session: Session, sweep_id: UUID | None) -> list[str]:
    """Return the names in the index of values, by a seek for each: neither database does so by itself."""

    def least(after: ColumnElement[str] | None = None) -> ScalarSelect[str]:
        value = aliased(JobValue)
        statement = select(func.min(value.name))
        if sweep_id is not None:
            statement = statement.where(value.sweep_id == sweep_id)
        if after is not None:
            statement = statement.where(value.name > after)
        return statement.scalar_subquery()

    names = select(least().label("name")).cte("names", recursive=True)
    names = names.union_all(select(least(names.c.name)).where(names.c.name.is_not(None)))
    return list(session.scalars(select(names.c.name).where(names.c.name.is_not(None))))
