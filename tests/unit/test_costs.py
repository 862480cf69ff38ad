"""What a job costs, in `docs/architecture.md`: the statements that it sends are listed there."""

import re
from pathlib import Path

import pytest

from bench import no_op, statements
from bench.job_cost import SPEC, CodelabExecutor
from bench.no_op import NoOpExecutor
from shared.db.engine import Database
from shared.schemas import TrainSpec
from shared.settings import Settings
from tests.support.pool_processes import running_pool_process
from tests.support.statements import recorded_statements
from workers.runner import run_jobs

JOBS = 3  # the first is claimed alone, and the others are together


def listed() -> set[str]:
    """The names of statements in the page's tables."""
    page = statements.PAGE.read_text()
    tables = page.split(statements.BEGIN)[1].split(statements.END)[0]
    return set(re.findall(r"^\| ([^|*]+?) \|", tables, flags=re.MULTILINE))


@pytest.mark.parametrize(
    ("executor", "spec"), [(no_op.NothingKept, no_op.SPEC), (CodelabExecutor, SPEC)], ids=["nothing", "model"]
)
def test_the_page_lists_every_statement_that_a_job_sends(
    executor: type[NoOpExecutor], spec: TrainSpec, postgresql: Database, settings: Settings, tmp_path: Path
) -> None:
    with (
        recorded_statements(postgresql) as sent,
        running_pool_process(settings, postgresql, tmp_path, executor(settings)) as process,
    ):
        process.registered.set()  # the versions are stored once a process, with its first job
        statements.submit(process, spec, JOBS, together=1)
        run_jobs(process)
    names = {statements.name_of(each.sql) for each in sent if not each.is_boundary}
    assert {"jobs", "claim of one", "claim of several", "end of one", "end of several"} <= names
    assert names <= listed()


def test_a_statement_without_a_name_is_called_by_its_first_words() -> None:
    assert statements.name_of("SELECT\n  jobs.id, jobs.name FROM jobs WHERE true") == (
        "SELECT jobs.id, jobs.name FROM jobs WHERE"
    )
