"""Stand-in: results and artifacts in place of evaluations and files of models, of which no row is moved.

The migration that moves the rows takes its place.
"""

from alembic import op

from shared.db.tables import Base

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

_OLD = (
    "misclassified",
    "confusion",
    "class_results",
    "evaluations",
    "model_files",
    "model_aliases",
    "models",
)
_NEW = ("models", "model_aliases", "artifacts", "results", "class_results")


def upgrade() -> None:
    tables = Base.metadata.tables
    for name in _OLD:
        op.drop_table(name)
    for name in _NEW:
        tables[name].create(op.get_bind())
    if op.get_bind().dialect.name == "sqlite":
        with op.batch_alter_table("jobs", copy_from=tables["jobs"], recreate="always"):
            pass
    else:
        op.drop_constraint("ck_jobs_succeeded_has_model", "jobs")
