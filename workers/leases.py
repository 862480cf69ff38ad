"""The heartbeat of a worker: its parent renews the leases of all its slots, and passes requests on to them.

One statement renews the leases every `HEARTBEAT_S`, and one reads the requests every `CANCEL_POLL_S`.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy.exc import DBAPIError

from shared import log
from shared.db.engine import Database
from shared.settings import Settings
from shared.store import leases
from shared.store.leases import Look
from shared.store.transitions import AttemptId
from workers.pulse import PulseReader

_log = log.get_logger(__name__)

_Held = list[tuple[PulseReader, tuple[AttemptId, ...]]]
"""Pool processes and the attempts that they hold."""


class Leases:
    """Renews the leases of the pool processes' attempts; passes on cancels, preemptions and losses."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        worker: str,
        draining: Callable[[bool], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to renew.

        Args:
            database: used by one thread only; retries nothing for long.
            worker: the name of this worker.
            draining: called after each look, with whether the worker drains.
        """
        self._database = database
        self._settings = settings
        self._worker = worker
        self._draining = draining
        self._clock = clock
        self._next_look_at = clock()
        self._is_failing = False

    def keep(self, pulses: Sequence[PulseReader]) -> None:
        """Renew leases and read requests when due, for the running pool processes; call this often."""
        if self._clock() < self._next_look_at:
            return
        self._next_look_at = self._clock() + self._settings.cancel_poll_s
        try:
            self._renew(pulses)
            self._look(pulses)
            self._is_failing = False
        except DBAPIError as error:
            if not self._is_failing:  # one line an outage, which may be a full disk
                _log.warning("heartbeats fail", error=str(error.orig))
            self._is_failing = True

    def _renew(self, pulses: Iterable[PulseReader]) -> None:
        now, heartbeat_s = self._clock(), self._settings.heartbeat_s
        # nothing runs in a silent process, so its lease is left to expire
        alive = [pulse for pulse in pulses if not pulse.is_silent]
        if not any(now - pulse.orders.renewed_at >= heartbeat_s for pulse in alive):
            return
        # also leases that are due soon, so that all are renewed at the same time
        held = _held(pulse for pulse in alive if now - pulse.orders.renewed_at >= heartbeat_s / 2)
        due = [each for pulse, attempts in held for each in attempts if each not in pulse.orders.stale]
        renew = partial(leases.renew, attempts=due, lease_s=self._settings.lease_s)
        renewed = self._database.write(renew) if due else set()
        for pulse, attempts in held:
            if renewed.issuperset(each for each in attempts if each not in pulse.orders.stale):
                pulse.tell(replace(pulse.orders, renewed_at=now))

    def _look(self, pulses: Iterable[PulseReader]) -> None:
        held = _held(pulses)
        attempts = [each for _, of_process in held for each in of_process]
        look = self._database.read(partial(leases.look, attempts=attempts, worker=self._worker))
        self._draining(look.drains)
        for pulse, of_process in held:
            _tell(pulse, of_process, look)


def _held(pulses: Iterable[PulseReader]) -> _Held:
    """Return each process's attempts, except for processes that are just writing them: these are next."""
    read = [(pulse, pulse.mark()) for pulse in pulses]
    return [(pulse, mark.attempts) for pulse, mark in read if mark is not None]


def _tell(pulse: PulseReader, attempts: Iterable[AttemptId], look: Look) -> None:
    standings = {attempt: look.standings.get(attempt) for attempt in attempts}
    running = {attempt: standing for attempt, standing in standings.items() if standing is not None}
    cancelled = frozenset(attempt for attempt, standing in running.items() if standing.cancel_requested)
    urgent = ((attempt, standing.urgent_id) for attempt, standing in running.items())
    orders = replace(pulse.orders, cancelled=cancelled, stale=frozenset(standings.keys() - running.keys()))
    preempted = frozenset((attempt, urgent_id) for attempt, urgent_id in urgent if urgent_id)
    pulse.tell(replace(orders, preempted=preempted))
