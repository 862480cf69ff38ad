"""Regular checks of the database's version floor: an API that is older stops using the database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError

from api.background import running_tasks
from shared import log
from shared.db.engine import Database

_CHECK_S = 5.0

_log = log.get_logger(__name__)


@asynccontextmanager
async def obeyed(database: Database) -> AsyncIterator[None]:
    """During the block, refuse every transaction while the database's floor is above this version."""
    async with running_tasks(_check(database)):
        yield


async def _check(database: Database) -> None:
    known, thread = "", CapacityLimiter(1)  # slow requests may occupy all other threads
    while True:
        with suppress(SQLAlchemyError, OSError):  # during an outage, the last result still holds
            refusal = await to_thread.run_sync(
                database.version_refusal, limiter=thread, abandon_on_cancel=True
            )
            if refusal != known:
                database.refuse(refusal)
                _log.error(f"cannot work: {refusal}" if refusal else "the database serves this version again")
                known = refusal
        await asyncio.sleep(_CHECK_S)
