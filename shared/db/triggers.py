"""The triggers of the table of jobs, which hold whichever program writes: their text, once.

The text is that for the newest schema, and no migration has any: one with today's text would change with it,
and not fit the schema of its own day. Instead the environment of the migrations calls `replace` after the
newest one, in its transaction. So a changed text needs a migration, which may be empty, and nothing is lost
where SQLite drops a table's triggers as it builds the table anew. A migration that removes what an old
trigger names drops that trigger.
"""

from collections.abc import Iterable

from sqlalchemy import JSON, Connection, text

from shared.db.tables import Job
from shared.lifecycle import TERMINAL, TRANSITIONS, JobState


def _listed(states: Iterable[JobState]) -> str:
    return "(" + ", ".join(f"'{state}'" for state in states) + ")"


def _from(source: JobState) -> str:
    targets = _listed(target for target in JobState if (source, target) in TRANSITIONS)
    return f"(OLD.state = '{source}' AND NEW.state IN {targets})"


# the life of a job
_ALLOWED = "\n    OR ".join(_from(state) for state in JobState if state not in TERMINAL)

# what is finished changes by an edit only
_CHANGEABLE = ("id", "name", "tags", "version")
_KEPT = [column for column in Job.__table__.columns if column.name not in _CHANGEABLE]
_TERMINAL = _listed(state for state in JobState if state in TERMINAL)
_FINISHED = f"OLD.state IN {_TERMINAL}"
_REFUSAL = "a job cannot change once it is finished"

# in the transaction that ends a job, the outbox of webhooks gets its end, and `job_values` its last values
_ENDS = f"NEW.state IN {_TERMINAL} AND OLD.state NOT IN {_TERMINAL}"
_COPIED = (
    *("name", "kind", "queue", "tags", "model_id", "last_values"),
    *("error_code", "error_message", "duration_s"),
)


def replace(connection: Connection) -> None:
    """Give the newest schema its triggers, in place of those of the same names; readers go on meanwhile."""
    for statement in statements(connection.dialect.name):
        connection.execute(text(statement))


def statements(dialect: str) -> list[str]:
    """Return the SQL that creates or replaces the triggers on `sqlite` or `postgresql`."""
    if dialect == "postgresql":
        return _postgresql()
    created = _sqlite()
    return [f"DROP TRIGGER IF EXISTS {name}" for name in created] + list(created.values())


def _sqlite() -> dict[str, str]:
    changed = " OR ".join(f"OLD.{column.name} IS NOT NEW.{column.name}" for column in _KEPT)
    outbox = _insert_deliveries("randomblob(16)", "instr(states, ")
    values = _insert_values("json_each(NEW.last_values) WHERE type <> 'null'", "value")
    return {
        "jobs_transition": f"""CREATE TRIGGER jobs_transition BEFORE UPDATE OF state ON jobs
            WHEN OLD.state <> NEW.state AND NOT (
    {_ALLOWED}
)
            BEGIN SELECT RAISE(ABORT, 'a job cannot change its state so'); END""",
        "jobs_finished": (
            f"CREATE TRIGGER jobs_finished BEFORE UPDATE ON jobs WHEN {_FINISHED} AND ({changed}) "
            f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        ),
        "jobs_ended": (
            f"CREATE TRIGGER jobs_ended AFTER UPDATE OF state ON jobs WHEN {_ENDS} "
            f"BEGIN {outbox}; {values}; END"
        ),
    }


def _postgresql() -> list[str]:
    old, new = (", ".join(f"{row}.{name}" for name in _kept_names()) for row in ("OLD", "NEW"))
    outbox = _insert_deliveries("gen_random_uuid()", "strpos(states::text, ")
    values = _insert_values("json_each_text(NEW.last_values) WHERE value IS NOT NULL", "value::float8")
    function, trigger = "CREATE OR REPLACE FUNCTION", "CREATE OR REPLACE TRIGGER"
    return [
        f"""{function} jobs_transition() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF OLD.state <> NEW.state AND NOT (
    {_ALLOWED}
) THEN
                    RAISE EXCEPTION 'a job cannot go from % to %', OLD.state, NEW.state
                        USING ERRCODE = 'check_violation';
                END IF;
                RETURN NEW;
            END $$""",
        f"{trigger} jobs_transition BEFORE UPDATE OF state ON jobs "
        "FOR EACH ROW EXECUTE FUNCTION jobs_transition()",
        f"""{function} jobs_finished() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'check_violation';
        END $$""",
        f"{trigger} jobs_finished BEFORE UPDATE ON jobs FOR EACH ROW "
        f"WHEN ({_FINISHED} AND ({old}) IS DISTINCT FROM ({new})) EXECUTE FUNCTION jobs_finished()",
        # without the lock, a webhook that is deleted meanwhile would break the foreign key, and so the end;
        # to begin an INSERT that finds nothing takes three times as long as to see that there is nothing
        f"""{function} jobs_ended() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT FROM webhooks) THEN
                {outbox} FOR KEY SHARE;
            END IF;
            IF NEW.last_values::text <> '{{}}' THEN
                {values};
            END IF;
            RETURN NULL;
        END $$""",
        f"{trigger} jobs_ended AFTER UPDATE OF state ON jobs FOR EACH ROW WHEN ({_ENDS}) "
        "EXECUTE FUNCTION jobs_ended()",
    ]


def _kept_names() -> list[str]:
    # JSON has no equality: its text does
    return [f"{column.name}::text" if isinstance(column.type, JSON) else column.name for column in _KEPT]


def _insert_deliveries(new_id: str, listed: str) -> str:
    copied, of_job = ", ".join(_COPIED), ", ".join(f"NEW.{column}" for column in _COPIED)
    # `states` is a JSON list of strings
    return f"""
        INSERT INTO webhook_deliveries
            (id, webhook_id, job_id, state, {copied}, created_at, next_at, attempts)
        SELECT {new_id}, id, NEW.id, NEW.state, {of_job}, NEW.finished_at, NEW.finished_at, 0
        FROM webhooks
        WHERE disabled_at IS NULL AND (queue IS NULL OR queue = NEW.queue)
            AND (kind IS NULL OR kind = NEW.kind) AND {listed}'"' || NEW.state || '"') > 0
        """


def _insert_values(members: str, value: str) -> str:
    return f"""
        INSERT INTO job_values (job_id, name, value, state, kind, queue, sweep_id)
        SELECT NEW.id, key, {value}, NEW.state, NEW.kind, NEW.queue, NEW.sweep_id FROM {members}
        """
