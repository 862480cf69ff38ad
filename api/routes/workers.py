"""Workers."""

from datetime import datetime

from fastapi import APIRouter
from sqlalchemy import select, type_coerce
from sqlalchemy.orm import Session

from api.deps import ServicesDep
from api.problems import documented
from shared import schemas, tables
from shared.clock import Now, database_now

router = APIRouter(prefix="/v1/workers", tags=["workers"])


@router.get("", responses=documented())
def list_workers(services: ServicesDep) -> schemas.WorkerList:
    """The workers that have reported, last heard of first."""
    return schemas.WorkerList(data=services.database.read(find_workers))


def find_workers(session: Session, *, now: Now = database_now) -> tuple[schemas.Worker, ...]:
    """Every known worker with the age of its last heartbeat."""
    read_at = type_coerce(now(), tables.UtcDateTime())
    rows = session.execute(select(tables.Worker, read_at).order_by(tables.Worker.heartbeat_at.desc()))
    return tuple(_describe(worker, at) for worker, at in rows)


def _describe(row: tables.Worker, at: datetime) -> schemas.Worker:
    stored = {name: getattr(row, name) for name in schemas.Worker.model_fields if hasattr(row, name)}
    return schemas.Worker(**stored, heartbeat_age_s=max(0.0, (at - row.heartbeat_at).total_seconds()))
