"""B6: no-op jobs that two warm processes run a second, from a queue that is full: `python -m bench.drain`.

Trainshed runs on SQLite and on PostgreSQL, at the default log level: every step of a job is durable. Jobs
that keep nothing are like the peers'; the others keep a model and an evaluation. The CPU time is that of the
worker, its pool and PostgreSQL, from the claim on. Celery keeps results in Redis and is not durable;
Procrastinate and awa use the same PostgreSQL and are durable. Trainshed's queue is paused while it is filled,
and its time runs from the queue's resumption until no job is unfinished. awa's time ends with the last call
of its task, which is before the last commit.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import psutil
from sqlalchemy import select
from sqlalchemy.orm import Session

from bench import no_op, peer
from bench.databases import durable_postgres
from bench.peer import Peer
from bench.rows import (
    JOBS_PER_S,
    MS,
    Row,
    Samples,
    again,
    compared,
    interleave,
    limited,
    not_measured,
    run,
)
from bench.servers import running_worker
from shared.broker import Broker
from shared.db.engine import Database
from shared.db.tables import IS_QUEUED, IS_RUNNING, Job
from shared.schemas import TrainSpec
from shared.settings import Settings
from shared.store import dispatch, queues
from shared.store.submissions import NewJobs
from shared.store.submit import submit_jobs
from tests.support.databases import migrate, open_database
from tests.support.factories import make_new_job
from tests.support.servers import PostgresServer, running_redis
from tests.support.waiting import wait_until

_PROCESSES = 2
_QUEUE = "default"
_JOBS_PER_INSERT = 1_000
_OURS = {"SQLite": "ours, SQLite", "PostgreSQL": "ours, PostgreSQL"}
_KEPT = "{}, model and evaluation"
_CELERY, _PROCRASTINATE, _AWA, _AGAIN = "Celery", "Procrastinate", "awa", "again"
_TIMEOUT_S = 300.0

Drain = Callable[[], float]


def measure(scale: float) -> Iterator[Row]:
    """Measure rounds of jobs, 5,000 in all on each side at full scale."""
    rounds = 5 if scale >= 1 else 2
    jobs = max(100, round(5_000 * scale / rounds))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        postgres = stack.enter_context(durable_postgres())
        urls: dict[str, Callable[[int], str]] = {
            "SQLite": lambda number: f"sqlite:///{folder / f'bench-{number}.db'}",
            "PostgreSQL": partial(_new_database, postgres),
        }
        cpu_ms: Samples = {}
        cases: dict[str, Drain] = {}
        for (kind, url), executor in product(urls.items(), (no_op.NOTHING_KEPT, no_op.NAME)):
            case = _OURS[kind] if executor == no_op.NOTHING_KEPT else _KEPT.format(_OURS[kind])
            workers = warm_workers(
                folder / case,
                url(len(cases)),
                jobs,
                no_op.SPEC,
                servers=[postgres.pid] if kind == "PostgreSQL" else [],
                cpu_ms=cpu_ms.setdefault(case, []),
                executor=executor,
                slots=_PROCESSES,
            )
            cases[case] = stack.enter_context(workers)
        if peer.installed():
            cases |= {
                _CELERY: stack.enter_context(_celery(jobs)),
                _PROCRASTINATE: stack.enter_context(_procrastinate(postgres, jobs)),
                _AWA: stack.enter_context(_awa(postgres, jobs)),
            }
        samples = interleave({**cases, _AGAIN: cases[_OURS["SQLite"]]}, rounds)
    yield from _rows(samples, rounds, cpu_ms)


def _new_database(postgres: PostgresServer, number: int) -> str:
    postgres.execute(f"CREATE DATABASE ours_{number}")
    return postgres.url(f"ours_{number}")


def _rows(samples: Samples, rounds: int, cpu_ms: Samples) -> Iterator[Row]:
    sqlite, postgres = (samples[name] for name in _OURS.values())
    if _CELERY in samples:
        for name, ours in zip(_OURS, (sqlite, postgres), strict=True):
            yield compared("B6", f"{name} / {_CELERY}", JOBS_PER_S, ours, samples[_CELERY], 0.75)
        for name, least in ((_PROCRASTINATE, 2.0), (_AWA, None)):
            yield compared("B6", f"PostgreSQL / {name}", JOBS_PER_S, postgres, samples[name], least)
    else:
        yield not_measured("B6", "peers", peer.MISSING)
    for name, case in product(_OURS.values(), ("{}", _KEPT)):
        if case == _KEPT:
            yield Row("B6", case.format(name), JOBS_PER_S.text(samples[case.format(name)]))
        used = cpu_ms[case.format(name)][-rounds:]
        if case == "{}":
            yield limited("B6", f"{name}: CPU a job", MS, used, 1.5)
        else:
            yield Row("B6", f"{case.format(name)}: CPU a job", MS.text(used))
    yield again("B6", "SQLite", JOBS_PER_S, sqlite, samples[_AGAIN])


@contextmanager
def warm_workers(
    folder: Path,
    url: str,
    jobs: int,
    spec: TrainSpec,
    *,
    servers: Sequence[int] = (),
    cpu_ms: list[float] | None = None,
    **options: Any,
) -> Iterator[Drain]:
    """Run a worker for the length of a `with` block; yield a function that drains a queue of these jobs.

    Args:
        folder: a new folder, for the worker's data.
        url: an empty database.
        servers: the ids of processes whose CPU time counts beside the worker's.
        cpu_ms: a list to which each drain appends the CPU time of a job, in ms.
        options: settings of the worker, its `slots` among them.
    """
    folder.mkdir()
    with ExitStack() as stack:
        redis_url = stack.enter_context(running_redis()).url
        settings = Settings(data_dir=folder, database_url=migrate(url), redis_url=redis_url, **options)
        database = stack.enter_context(open_database(url))
        pids = [stack.enter_context(running_worker(settings)), *servers]
        broker = Broker(settings)
        stack.callback(broker.close)
        used = [] if cpu_ms is None else cpu_ms
        yield lambda: _drain(database, broker, spec, jobs, pids, used)


def _drain(
    database: Database, broker: Broker, spec: TrainSpec, jobs: int, pids: Sequence[int], cpu_ms: list[float]
) -> float:
    database.write(partial(queues.pause, queue=_QUEUE))
    for start in range(0, jobs, _JOBS_PER_INSERT):
        new = [make_new_job(spec=spec) for _ in range(min(_JOBS_PER_INSERT, jobs - start))]
        database.write(partial(submit_jobs, requests=[NewJobs(new)]))
    started_at, before_s = perf_counter(), cpu_s(pids)
    database.write(partial(queues.resume, queue=_QUEUE))
    dispatch.wake(broker, {_QUEUE: jobs})
    wait_until(lambda: not database.read(_is_unfinished), "all jobs are finished", _TIMEOUT_S)
    ended_at = perf_counter()
    cpu_ms.append(1_000 * (cpu_s(pids) - before_s) / jobs)
    return jobs / (ended_at - started_at)


def cpu_s(pids: Sequence[int]) -> float:
    """Return the CPU time of processes and of all that they have started, in seconds."""
    roots = [psutil.Process(pid) for pid in pids]
    processes = [*roots, *(child for root in roots for child in root.children(recursive=True))]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _is_unfinished(session: Session) -> bool:
    return any(
        session.scalar(select(Job.id).where(state).limit(1)) is not None for state in (IS_QUEUED, IS_RUNNING)
    )


@contextmanager
def _celery(jobs: int) -> Iterator[Drain]:
    with running_redis() as redis, Peer("celery_app", str(redis.socket), str(_PROCESSES)) as celery:
        yield lambda: float(celery.ask("drain", jobs=jobs))


def _work(jobs: int, *processes: Peer) -> list[Any]:
    """Have the first process submit the jobs and all processes work; return the result of each."""
    processes[0].ask("submit", jobs=jobs)
    for process in processes:
        process.tell("work")
    return [process.hear() for process in processes]


@contextmanager
def _procrastinate(postgres: PostgresServer, jobs: int) -> Iterator[Drain]:
    postgres.execute("CREATE DATABASE procrastinate")
    address = f"host={postgres.socket.parent} user=postgres dbname=procrastinate"
    with Peer("procrastinate_app", address) as first, Peer("procrastinate_app", address) as second:

        def drain() -> float:
            return float(jobs / max(_work(jobs, first, second)))

        yield drain


@contextmanager
def _awa(postgres: PostgresServer, jobs: int) -> Iterator[Drain]:
    postgres.execute("CREATE DATABASE awa")
    url = f"postgres://postgres@localhost/awa?host={postgres.socket.parent}"
    with Peer("awa_app", url) as first, Peer("awa_app", url) as second:

        def drain() -> float:
            ends = _work(jobs, first, second)
            assert sum(done for done, _ in ends) == jobs, ends
            return float(jobs / max(seconds for _, seconds in ends))

        yield drain


if __name__ == "__main__":
    run(measure)
