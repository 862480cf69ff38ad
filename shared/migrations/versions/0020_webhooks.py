"""Webhooks, and the outbox of their deliveries, which a trigger fills when a job ends."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_PENDING = "delivered_at IS NULL AND dead_at IS NULL"
_ENDS = (
    "NEW.state IN ('succeeded', 'failed', 'cancelled') AND "
    "OLD.state NOT IN ('succeeded', 'failed', 'cancelled')"
)
_COPIED = (
    *("name", "kind", "queue", "tags", "model_id", "accuracy", "evaluation_accuracy"),
    *("error_code", "error_message", "duration_s"),
)


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.String(128), nullable=False),
        sa.Column("description", sa.String(200), nullable=True),
        sa.Column("queue", sa.String(64), nullable=True),
        sa.Column("kind", sa.String(16), nullable=True),
        sa.Column("states", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IS NULL OR kind IN ('evaluate', 'train')", name=op.f("ck_webhooks_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("webhook_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("state", sa.String(16), nullable=True),
        sa.Column("name", sa.String(200), nullable=True),
        sa.Column("kind", sa.String(16), nullable=True),
        sa.Column("queue", sa.String(64), nullable=True),
        sa.Column("tags", sa.JSON(), nullable=True),
        sa.Column("model_id", sa.Uuid(), nullable=True),
        sa.Column("accuracy", sa.Double(), nullable=True),
        sa.Column("evaluation_accuracy", sa.Double(), nullable=True),
        sa.Column("error_code", sa.String(64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("duration_s", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dead_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint("(job_id IS NULL) = (state IS NULL)", name=op.f("ck_webhook_deliveries_of_job")),
        sa.CheckConstraint(
            "delivered_at IS NULL OR dead_at IS NULL", name=op.f("ck_webhook_deliveries_one_end")
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_webhook_deliveries_attempts")),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.id"],
            name=op.f("fk_webhook_deliveries_webhook_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index(
        "ix_webhook_deliveries_webhook_id_created_at_id",
        "webhook_deliveries",
        ["webhook_id", "created_at", "id"],
    )
    _create_index("pending", "next_at", _PENDING)
    _create_index("delivered", "delivered_at", "delivered_at IS NOT NULL")
    _create_index("dead", "dead_at", "dead_at IS NOT NULL")
    _create_trigger()


def _create_index(name: str, column: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(
        f"ix_webhook_deliveries_{name}",
        "webhook_deliveries",
        ["webhook_id", column],
        sqlite_where=where,
        postgresql_where=where,
    )


def _create_trigger() -> None:
    is_sqlite = _is_sqlite()
    copied, of_job = ", ".join(_COPIED), ", ".join(f"NEW.{column}" for column in _COPIED)
    new_id = "lower(hex(randomblob(16)))" if is_sqlite else "gen_random_uuid()"
    # `states` is a JSON list of strings
    listed = "instr(states, " if is_sqlite else "strpos(states::text, "
    insert = f"""
        INSERT INTO webhook_deliveries
            (id, webhook_id, job_id, state, {copied}, created_at, next_at, attempts)
        SELECT {new_id}, id, NEW.id, NEW.state, {of_job}, NEW.finished_at, NEW.finished_at, 0
        FROM webhooks
        WHERE disabled_at IS NULL AND (queue IS NULL OR queue = NEW.queue)
            AND (kind IS NULL OR kind = NEW.kind) AND {listed}'"' || NEW.state || '"') > 0
        """
    if is_sqlite:
        op.execute(
            f"CREATE TRIGGER jobs_ended AFTER UPDATE OF state ON jobs WHEN {_ENDS} BEGIN {insert}; END"
        )
        return
    # without the lock, a webhook that is deleted meanwhile would break the foreign key, and so the job's end
    op.execute(
        f"""
        CREATE FUNCTION jobs_ended() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            {insert} FOR KEY SHARE;
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        f"CREATE TRIGGER jobs_ended AFTER UPDATE OF state ON jobs FOR EACH ROW WHEN ({_ENDS}) "
        "EXECUTE FUNCTION jobs_ended()"
    )


def downgrade() -> None:
    if _is_sqlite():
        op.execute("DROP TRIGGER jobs_ended")
    else:
        op.execute("DROP TRIGGER jobs_ended ON jobs")
        op.execute("DROP FUNCTION jobs_ended()")
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"
