"""The store against its model, over interleavings that nobody thought of. `tests/faults` runs more of them."""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from shared.db import Database
from tests.store_machine import StoreMachine


def test_the_store_does_what_its_model_does() -> None:
    database = Database("sqlite://")  # in memory
    database.migrate()
    run_state_machine_as_test(
        lambda: StoreMachine(database),
        settings=settings(
            max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    database.dispose()
