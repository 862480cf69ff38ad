"""`trainshed cancel` and `retry`. (`edit`, `clone` and `delete`: tests/integration/test_operations.py.)"""

import json

from tests.support.command_line import CommandLine
from tests.support.fake_api import make_failure, make_job


def test_a_job_is_cancelled(cli: CommandLine) -> None:
    job_id = cli.api.add(make_job())
    result = cli.run("cancel", "last")
    assert result.stderr == f"Job {job_id} is cancelled.\n"
    assert result.exit_code == 0


def test_a_retried_job_is_submitted_again_and_followed(cli: CommandLine) -> None:
    job_id = cli.api.add(make_failure(make_job()))
    result = cli.run("retry", "last", "--json")
    assert json.loads(result.stdout)["retry_of"] == str(job_id)
    assert result.exit_code == 0
