"""B21: jobs lost and executed twice under the chaos scenarios of a public suite: `python -m bench.chaos`.

The scenarios are those of hardbyte/postgresql-job-queue-benchmarking, scaled down: one of two replicas is
killed (`crash_recovery`), killed again and again (`repeated_kills`), PostgreSQL is shut down for some seconds
(`postgres_restart`), loses connections (`pg_backend_kill`) or has few left (`pool_exhaustion`). 8 jobs a
second are submitted, each of which waits 0.1 s. Trainshed (API, Redis, two workers), Procrastinate and awa
each have a new PostgreSQL, whose commits wait for the disk, and their own defaults for leases and heartbeats.

The systems run at the same time: a scenario is mostly waiting, at this rate two cores are enough for all, and
other load on the machine affects all alike. One after another would take three times as long.

A replica that ends by itself is counted and started again, as by a supervisor; the suite does not restart
replicas. Procrastinate retries jobs of vanished workers by a periodic task of the user's, which the suite
does not have.

A job is lost if it was accepted and was not executed within 100 s after the last submission. Execution is at
least once: a kill between the work and its report repeats the work. Trainshed passes if no job is lost, no
job has an effect twice, and the fault tests' oracle finds nothing; the peers' figures are stated only.
"""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from time import monotonic

from bench import chaos_faults, peer
from bench.chaos_account import Account, Span, account, read_executions, read_submissions, unexecuted
from bench.chaos_effects import Effects
from bench.chaos_faults import Fault
from bench.chaos_load import END_S, RATE
from bench.chaos_systems import AWA, OURS, PROCRASTINATE, System, running
from bench.rows import Row, judged, not_measured, run

_BASELINE_S, _FAULT_S, _RECOVERY_S = 8.0, 14.0, 12.0
_LEAST_S = 4.0
_FIRST_S = 3.0
_START_S = 120.0
_DRAIN_S = 100.0  # awa rescues jobs of vanished workers after 70 to 90 s
_SCENARIOS: dict[str, tuple[Fault, float]] = {
    "crash_recovery": (chaos_faults.crash, 1),
    "repeated_kills": (chaos_faults.repeated_kills, 2),
    "postgres_restart": (chaos_faults.restart_postgres, 1),
    "pg_backend_kill": (chaos_faults.end_backends, 1),
    "pool_exhaustion": (chaos_faults.exhaust_connections, 1),
}
"""The fault of each scenario, and its length as a multiple of `_FAULT_S`."""


@dataclass(frozen=True)
class _Outcome:
    account: Account
    effects: Effects | None
    restarts: int


def measure(scale: float) -> Iterator[Row]:
    """Run the scenarios one after another, each on all systems at once."""
    names = [OURS, *([PROCRASTINATE, AWA] if peer.installed() else [])]
    if not peer.installed():
        yield not_measured("B21", "peers", peer.MISSING)
    with TemporaryDirectory(prefix="bench-") as folder:
        for scenario in _SCENARIOS:
            outcomes = _run_all(scenario, names, Path(folder) / scenario, scale)
            yield from _rows(scenario, outcomes)


def _run_all(scenario: str, names: Sequence[str], folder: Path, scale: float) -> dict[str, _Outcome]:
    folder.mkdir()
    cancelled = Event()
    with ThreadPoolExecutor(len(names)) as threads:
        running = {
            name: threads.submit(_run, scenario, name, folder / name, scale, cancelled) for name in names
        }
        try:
            return {name: future.result() for name, future in running.items()}
        except BaseException:  # also a signal's: the executor waits for its threads, so the systems must end
            cancelled.set()
            raise


def _run(scenario: str, name: str, folder: Path, scale: float, cancelled: Event) -> _Outcome:
    fault, length = _SCENARIOS[scenario]
    baseline_s, fault_s, recovery_s = (
        max(_LEAST_S, scale * seconds) for seconds in (_BASELINE_S, length * _FAULT_S, _RECOVERY_S)
    )
    with running(name, folder, cancelled) as system:
        begun = system.pause(_START_S, until=partial(_are_up, system))
        system.producer.start()
        begun = begun and system.pause(_START_S, until=partial(_keeps_up, system))
        assert begun, "\n".join(
            [f"{name} does not work:", *(log.read_text() for log in folder.rglob("*.log"))]
        )
        before = monotonic()
        system.pause(baseline_s)
        fault_at = monotonic()
        done = fault(system, fault_s)
        fault_end = monotonic()
        system.pause(recovery_s)
        end = monotonic()
        system.producer.end(END_S)
        submissions = read_submissions(system.submitted)
        system.pause(_DRAIN_S, until=lambda: not unexecuted(submissions, read_executions(system.executions)))
        drained_s = monotonic() - end
        effects = system.effects and system.effects(each.number for each in submissions if each.accepted)
        executions, restarts = read_executions(system.executions), system.restarts()
    print(f"{scenario}, {name}: {done}, {drained_s:.1f} s until the queue was empty", flush=True)
    if effects and effects.violations:
        print(effects.violations, file=sys.stderr, flush=True)
    spans = Span(before, fault_at), Span(fault_at, fault_end)
    return _Outcome(account(submissions, executions, *spans, end), effects, restarts)


def _are_up(system: System) -> bool:
    return all(file.exists() for file in system.executions)


def _keeps_up(system: System) -> bool:
    """Return whether `_FIRST_S` seconds' jobs are executed, and fewer than half a second's jobs wait."""
    if not system.submitted.exists():
        return False
    submissions, executions = read_submissions(system.submitted), read_executions(system.executions)
    return len(executions) > _FIRST_S * RATE and len(unexecuted(submissions, executions)) < RATE / 2


def _rows(scenario: str, outcomes: dict[str, _Outcome]) -> Iterator[Row]:
    ours = outcomes[OURS]
    assert ours.effects is not None
    lost = {name: f"{each.account.lost} of {each.account.accepted}" for name, each in outcomes.items()}
    yield _row(f"{scenario}: lost", lost, "0", judged(not ours.account.lost and ours.account.accepted > 0))
    twice = {name: str(each.account.twice) for name, each in outcomes.items()}
    twice[OURS] += f", {ours.effects.twice} with an effect twice"
    yield _row(f"{scenario}: executed twice", twice, "0 effects", judged(not ours.effects.twice))
    found = "nothing" if not ours.effects.violations else "see above"
    yield _row(f"{scenario}: oracle", {OURS: found}, "nothing", judged(not ours.effects.violations))
    times = {name: _times(each.account) for name, each in outcomes.items()}
    yield _row(f"{scenario}: recovery, longest gap, slowest job", times)
    others = {name: f"{each.account.refused}, {each.restarts}" for name, each in outcomes.items()}
    yield _row(f"{scenario}: refused, replicas that ended by themselves", others)


def _row(case: str, figures: dict[str, str], target: str = "", verdict: str = "stated") -> Row:
    peers = "; ".join(f"{name} {text}" for name, text in figures.items() if name != OURS)
    return Row("B21", case, figures[OURS], peers, target=target, verdict=verdict)


def _times(account: Account) -> str:
    recovery = "never" if account.recovery_s is None else f"{account.recovery_s:.1f} s"
    return f"{recovery}, {account.gap_s:.1f} s, {account.slowest_s:.1f} s"


if __name__ == "__main__":
    run(measure)
