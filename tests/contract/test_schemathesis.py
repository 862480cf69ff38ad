"""The API keeps what its OpenAPI document promises; `make contract` asks it ten times as much."""

import pytest

from shared.settings import Settings
from tests.contract import campaign

# some seconds each, where nothing else runs
pytestmark = pytest.mark.timeout(400)

# by chance only what is in use may be asked for
RARE = {"DELETE /v1/jobs/{job_id}", "DELETE /v1/models/{model_id}"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database only; `make contract` has both."""
    return sqlite_url


def test_reads_at_the_borders_of_what_is_allowed(live_settings: Settings) -> None:
    outcome = campaign.run(live_settings, "--phases", "coverage", "--include-method", "GET", count=4)

    assert outcome.passed, outcome.output
    assert outcome.examples > 500


def test_requests_drawn_by_chance_and_one_after_another(live_settings: Settings) -> None:
    outcome = campaign.run(live_settings, "-n", "5", "--phases", "examples,fuzzing,stateful", count=8)

    assert outcome.passed, outcome.output
    assert outcome.server_errors == []
    assert set(outcome.unreached) <= RARE


def test_sequences_of_requests_at_the_same_time_on_the_same_objects(live_settings: Settings) -> None:
    outcome = campaign.run(live_settings, "-n", "2", count=2, seeds=(1, 2))

    assert outcome.passed, outcome.output
    assert outcome.server_errors == []
    assert outcome.examples > 10
