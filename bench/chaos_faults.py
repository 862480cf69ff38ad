"""The faults of `bench.chaos`, each applied to one system for some seconds."""

from collections.abc import Callable
from contextlib import ExitStack
from signal import SIGINT
from time import monotonic

import psycopg

from bench.chaos_systems import CONNECTIONS, OPTIONS, System
from bench.programs import Program

Fault = Callable[[System, float], str]
"""A function that injects a fault for a number of seconds, ends it, and returns its description."""

_KILL_EACH_S = 6.0
_DOWN_S = 1.0
_END_BACKEND_EACH_S = 0.5
_TAKEN = 3 * CONNECTIONS // 4
# busy backends first; at the rate of this benchmark, all backends are idle most of the time
_END_BACKEND = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
ORDER BY state = 'idle', random() LIMIT 1
"""


def crash(system: System, seconds: float) -> str:
    """Kill the replica that has executed the last job, and start it again at the end."""
    replica = _at_work(system)
    replica.kill()
    system.pause(seconds)
    replica.start()
    return "1 kill"


def repeated_kills(system: System, seconds: float) -> str:
    """Repeatedly kill the replica that has executed the last job, and start it again a second later."""
    deadline, kills = monotonic() + seconds, 0
    while not kills or monotonic() < deadline:
        replica = _at_work(system)
        replica.kill()
        kills += 1
        system.pause(_DOWN_S)
        replica.start()
        system.pause(min(_KILL_EACH_S, seconds / 2) - _DOWN_S)
    return f"{kills} kills"


def restart_postgres(system: System, seconds: float) -> str:
    """Shut PostgreSQL down, which ends every connection, and start it again half-way."""
    system.postgres.stop(SIGINT)
    stopped_at = monotonic()
    system.pause(seconds / 2)
    system.postgres.start(*OPTIONS)
    down_s = monotonic() - stopped_at
    return f"down {down_s:.1f} s"


def end_backends(system: System, seconds: float) -> str:
    """End one of the system's connections twice a second."""
    deadline, ended = monotonic() + seconds, 0
    with _connect(system) as connection:
        while monotonic() < deadline:
            ended += len(connection.execute(_END_BACKEND).fetchall())
            system.pause(_END_BACKEND_EACH_S)
    return f"{ended} backends ended"


def exhaust_connections(system: System, seconds: float) -> str:
    """Hold three quarters of the connections that PostgreSQL allows, without using them."""
    with ExitStack() as stack:
        taken = 0
        while taken < _TAKEN:
            stack.enter_context(_connect(system))
            taken += 1
        system.pause(seconds)
    return f"{taken} of {CONNECTIONS} connections taken"


def _at_work(system: System) -> Program:
    """Return the replica that has executed the last job: one of awa's executes all while it has capacity."""
    last = max(system.executions, key=lambda file: file.stat().st_mtime_ns)
    return system.replicas[system.executions.index(last)]


def _connect(system: System) -> "psycopg.Connection[tuple[object, ...]]":
    folder = str(system.postgres.socket.parent)
    return psycopg.connect(host=folder, user="postgres", dbname="postgres", autocommit=True)
