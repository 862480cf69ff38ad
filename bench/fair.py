"""B14: fair turns: how evenly tenants share the slots' time, and how long tenants and `low` jobs wait.

    python -m bench.fair

The store's own submissions, claims and reports run on a simulated clock, so that times are exact. A wait is
compared with the wait in strict order: the same jobs, all of one tenant.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from statistics import quantiles
from tempfile import TemporaryDirectory
from uuid import UUID

from bench.databases import durable_postgres
from bench.rows import Row, Unit, compared, judged, run
from shared.db.engine import Database
from shared.schemas import Priority, Scope
from shared.store import api_keys
from shared.store.places import Rules
from tests.support.databases import migrate, open_database
from tests.support.fakes import FrozenClock
from tests.support.slots import Slots, jain

_LENGTHS = Unit("job lengths", smaller_is_better=True)
_AT_MOST = 2.0
_JAIN_ABOVE, _WITHIN = 0.95, 0.05
_RULES_OF_LOW = Rules(urgent_s=60.0, high_s=30.0, low_s=30.0, passed_s=120.0)  # take effect within minutes
_SLOTS = 4
_CASES: Mapping[str, list[tuple[float, float]]] = {  # weight and job length in s of each tenant
    "lengths 10:1": [(1, 600), (1, 60)],
    "lengths 1:100": [(1, 10), (1, 1_000)],
    "weights 3:1, lengths 1:10": [(3, 60), (1, 600)],
    "weights 1:3, lengths 1:10": [(1, 60), (3, 600)],
    "five tenants, lengths 1:3:9:27:81": [(1, 30 * 3**power) for power in range(5)],
}


def measure(scale: float) -> Iterator[Row]:
    """Measure both databases."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        postgres = stack.enter_context(durable_postgres())
        numbers = count()

        def new_database(kind: str) -> Database:
            name = f"fair{next(numbers)}"
            if kind == "PostgreSQL":
                postgres.execute(f'CREATE DATABASE "{name}"')
            url = postgres.url(name) if kind == "PostgreSQL" else f"sqlite:///{folder / name}.db"
            return stack.enter_context(open_database(migrate(url)))

        for kind in ("SQLite", "PostgreSQL"):
            jobs = max(20, round(1_000 * scale))
            ours, strict = (_wait_behind(new_database(kind), jobs, tenant) for tenant in ("b", "a"))
            yield _behind(f"{kind}, one job behind {jobs:,} of another tenant", ours, strict)
            for case, of_tenants in _CASES.items():
                yield _evenness(f"{kind}, {case}", new_database(kind), of_tenants)
            yield _one_job_sweeps(kind, new_database(kind), max(50, round(400 * scale)))
            yield _low(kind, new_database(kind), max(60, round(1_500 * scale)))


def _behind(case: str, ours: float, strict: float) -> Row:
    row = compared("B14", case, _LENGTHS, [ours], [strict], None)
    return replace(row, target=f"<= {_AT_MOST:g} job lengths", verdict=judged(ours <= _AT_MOST))


def _wait_behind(database: Database, jobs: int, tenant: str) -> float:
    """Return the wait in s of a job of `tenant`, submitted while one of many jobs of the tenant `a` runs."""
    slots = Slots(database, FrozenClock(), 1)
    slots.submit("a", jobs, 1)
    slots.run(jobs // 20 + 0.01)
    [job_id] = slots.submit(tenant, 1, 1)
    while job_id not in slots.waited_s:
        slots.run(10)
    return slots.waited_s[job_id]


def _evenness(case: str, database: Database, of_tenants: list[tuple[float, float]]) -> Row:
    """Measure tenants that always have waiting jobs, over the length of ten of the longest jobs."""
    slots, until_s = Slots(database, FrozenClock(), _SLOTS), 10 * max(length for _, length in of_tenants)
    weights = {}
    for weight, length in of_tenants:
        key = api_keys.NewApiKey.draw()
        database.write(
            partial(api_keys.create, key=key, name="a key", scope=Scope.SUBMIT, weight=float(weight))
        )
        weights[f"key {key.id}"] = weight
        slots.submit(f"key {key.id}", round(_SLOTS * until_s / length), length)
    slots.run(until_s)
    used = slots.use()
    shares = [used[tenant] / weight for tenant, weight in weights.items()]
    mean, index = sum(shares) / len(shares), jain(shares)
    off = max(abs(share / mean - 1) for share in shares)
    return Row(
        "B14",
        f"{case}: Jain's index of slot-seconds / weight, and the farthest from its part",
        f"{index:.4f}, {off:.1%}",
        target=f"> {_JAIN_ABOVE:g}, within {_WITHIN:.0%}",
        verdict=judged(index > _JAIN_ABOVE and off <= _WITHIN),
    )


def _one_job_sweeps(kind: str, database: Database, jobs: int) -> Row:
    slots = Slots(database, FrozenClock(), _SLOTS)
    slots.submit("a", jobs, 10, is_sweep=True)
    for _ in range(jobs):
        slots.submit("b", 1, 10, is_sweep=True)
    slots.run(10 * jobs / _SLOTS)
    used = slots.use()
    index = jain([used["a"], used["b"]])
    case = f"{kind}, a sweep of {jobs} jobs beside {jobs} sweeps of one: Jain's index"
    return Row("B14", case, f"{index:.4f}", target=f"> {_JAIN_ABOVE:g}", verdict=judged(index > _JAIN_ABOVE))


def _low(kind: str, database: Database, seconds: int) -> Row:
    """Measure the occasional low jobs of an overloaded queue, whose other jobs each have a new tenant."""
    slots = Slots(database, FrozenClock(), 1, rules=_RULES_OF_LOW)
    random, names, low, submitted_at = Random(1), count(), list[UUID](), dict[UUID, float]()
    started_at: dict[UUID, float] = {}
    for second in range(seconds):
        for _ in range(1 + (random.random() < 0.1)):
            submitted_at |= dict.fromkeys(slots.submit(f"tenant {next(names)}", 1, 1), slots.now_s)
        if second % 20 == 0:
            low += slots.submit("low", 1, 1, priority=Priority.LOW)
        slots.run(1)
        started_at |= dict.fromkeys(slots.started[len(started_at) :], slots.now_s)
    late, waits_since = 0, 0.0
    for job_id in (each for each in low if each in started_at):
        since = max(waits_since, started_at[job_id] - slots.waited_s[job_id])
        waits_since = started_at[job_id]
        late += sum(
            since + _RULES_OF_LOW.passed_s + 1 < started_at.get(other, 0.0) < waits_since and at > since
            for other, at in submitted_at.items()
        )
    waits = [slots.waited_s[job_id] for job_id in low if job_id in started_at]
    case = f"{kind}, low behind new tenants: p99.9 of {len(waits)} waits, and passed after the bound by"
    longest = quantiles(waits, n=1_000)[-1] if len(waits) > 1 else sum(waits)
    return Row(
        "B14", case, f"{longest:.0f} job lengths, {late} jobs", target="0 jobs", verdict=judged(not late)
    )


if __name__ == "__main__":
    run(measure)
