"""The loop in each API process that sends the deliveries in the outbox of webhooks.

The workers do not run this loop, because there may be none: they are scaled to zero when no job waits, which
is when the last job has ended.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.background import running_tasks
from api.webhooks.sending import Sender
from api.webhooks.turns import Attempt, Turns
from shared import log
from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.settings import Settings
from shared.store import outbox
from shared.store.outbox import Claimed, Outcome

T = TypeVar("T")
_Step = Callable[[], Awaitable[None]]

_POLL_S = 1.0  # seconds between two reads of the outbox while no delivery ends
_PAUSE_S = 0.05  # the least seconds between two reads, so that several deliveries end in between
_PURGE_S = 60.0
_PURGED = 500  # deliveries that a transaction purges
_MAX_JITTER = 1.2
_STOP_S = 1.0  # seconds for deliveries in progress; an interrupted one is sent again after its lease

_log = log.get_logger(__name__)


class Deliverer:
    """The sender of due deliveries, several at a time; processes share the work by claiming deliveries.

    Attributes:
        outcomes: the numbers of this process's attempts by outcome, and of the deliveries it has given up.
    """

    def __init__(self, database: Database, settings: Settings, *, now: Now = database_now) -> None:
        self._database = database
        self._now = now
        self._sender = Sender(settings)
        self._limiter = CapacityLimiter(2)  # threads that use the database
        self._turns = Turns()
        self._tasks: set[asyncio.Task[None]] = set()
        self.outcomes: Counter[Outcome] = Counter()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver until the end of the block."""
        self._has_ended = asyncio.Event()
        purges = self._repeat(self._purge, partial(asyncio.sleep, _PURGE_S))
        try:
            async with running_tasks(self._repeat(self._round, self._pause), purges):
                yield
        finally:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_STOP_S)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._sender.close()

    async def _repeat(self, step: _Step, pause: _Step) -> None:
        fails = False
        while True:
            try:
                await step()
                fails = False
            except SQLAlchemyError as error:
                if not fails:  # log an outage only once
                    _log.warning("webhooks wait for the database", error=str(error))
                fails = True
            except Exception:
                # an unexpected error must not end the loop: nothing would be delivered any more
                _log.exception("delivery of webhooks failed")
            await pause()

    async def _pause(self) -> None:
        await asyncio.sleep(_PAUSE_S)
        try:
            async with asyncio.timeout(_POLL_S):
                await self._has_ended.wait()
        except TimeoutError:
            return

    async def _round(self) -> None:
        """Begin to send the due deliveries, as far as there is room."""
        self._has_ended.clear()
        for webhook_id in self._turns.in_order(await self._read(partial(outbox.due, now=self._now))):
            if free := self._turns.free(webhook_id):
                claim = partial(outbox.claim, webhook_id=webhook_id, limit=free, now=self._now)
                for claimed in await self._write(claim):
                    self._start(claimed)

    def _start(self, claimed: Claimed) -> None:
        attempt = self._turns.begin(claimed.delivery.webhook_id)
        task = asyncio.create_task(self._deliver(claimed, attempt))
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._turns.end(attempt)
            self._has_ended.set()

        task.add_done_callback(ended)

    async def _deliver(self, claimed: Claimed, attempt: Attempt) -> None:
        delivery = claimed.delivery
        names = {"webhook": str(delivery.webhook_id), "delivery": str(delivery.id)}
        about = {**names, "attempt": delivery.attempts}
        answer = await self._sender.send(claimed)
        self._turns.answered(attempt)
        try:
            if answer.is_accepted:
                self.outcomes[Outcome.ACCEPTED] += 1
                await self._write(partial(outbox.accepted, sent=delivery, now=self._now))
                return
            self.outcomes[Outcome.FAILED] += 1
            if answer.is_gone:
                _log.warning("webhook disabled: its receiver is gone", **about)
                end = partial(outbox.gone, sent=delivery, error=answer.detail, now=self._now)
                given_up = await self._write(end)
            else:
                _log.info("delivery failed", error=answer.detail, **about)
                refused = partial(outbox.refused, sent=delivery, error=answer.detail, now=self._now)
                jitter = random.uniform(1.0, _MAX_JITTER)
                given_up = await self._write(partial(refused, jitter=jitter))
            self.outcomes[Outcome.GIVEN_UP] += given_up
        except SQLAlchemyError as error:
            # the delivery is sent again after its lease
            _log.warning("the result of a delivery was not recorded", error=str(error), **about)

    async def _purge(self) -> None:
        for webhook_id in await self._read(partial(outbox.has_old, now=self._now)):
            purge = partial(outbox.purge, webhook_id=webhook_id, limit=_PURGED, now=self._now)
            while await self._write(purge) == _PURGED:
                await asyncio.sleep(_PAUSE_S)

    async def _read(self, work: Callable[[Session], T]) -> T:
        return await to_thread.run_sync(self._database.read, work, limiter=self._limiter)

    async def _write(self, work: Callable[[Session], T]) -> T:
        return await to_thread.run_sync(self._database.write, work, limiter=self._limiter)
