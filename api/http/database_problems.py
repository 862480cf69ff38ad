"""Problem types of a database that cannot be used, with the reason and the operator's remedy."""

from collections.abc import Mapping

from api.http.problem_type import ProblemType
from shared.db.outages import Reason

DATABASE_UNAVAILABLE = ProblemType(
    "database-unavailable",
    503,
    "The database is unavailable",
    "Retry after a moment, with the same `Idempotency-Key` if there was one. `/readyz` shows when the "
    "database is back.",
)
SCHEMA_OUTDATED = ProblemType(
    "schema-outdated",
    503,
    "The database has the schema of an older version",
    "Whoever runs the API must migrate it (`trainshed migrate`).",
)
VERSION_OUTDATED = ProblemType(
    "version-outdated", 503, "The API is too old for its database", "Whoever runs the API must upgrade it."
)

_RETRY = "then retry, with the same `Idempotency-Key` if there was one"
OF_OUTAGE: Mapping[Reason, ProblemType] = {
    Reason.FULL: ProblemType(
        "database-full",
        503,
        "The disk of the database is full",
        f"Reads go on. Whoever runs the database must free space on its disk, or enlarge it; {_RETRY}.",
    ),
    Reason.CONNECTIONS: ProblemType(
        "database-connections",
        503,
        "All connections to the database are used",
        f"Wait for a moment; {_RETRY}. Whoever runs the database may have to increase `max_connections`.",
    ),
    Reason.LOCKED: ProblemType(
        "database-locked",
        503,
        "Other transactions hold up the database",
        f"Wait for a moment; {_RETRY}. `pg_stat_activity` shows whoever runs the database the oldest one.",
    ),
    Reason.UNAVAILABLE: DATABASE_UNAVAILABLE,
}
"""The problem type for each kind of outage of the database."""
