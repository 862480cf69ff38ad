"""The upgrade from 0.1.0: all of its processes are killed, the rows are moved, and 0.2.0 is started.

The API answers as before, the interrupted job has the bits of an uninterrupted run, and no job is lost or
done twice. When 0.2.0 is released, this is over: later upgrades are rolled out.
"""

from pathlib import Path
from uuid import UUID

import pytest

from shared.lifecycle import JobState
from tests.faults.cluster import Cluster
from tests.support import stored
from tests.support.killed_migration import kill_migration
from tests.support.paths import ROOT
from tests.support.waiting import wait_until
from tests.upgrade.old_stack import OldStack, differences, in_new_words
from tests.upgrade.rollout import Rollout, readiness

pytestmark = [pytest.mark.upgrade, pytest.mark.timeout(1_800)]

# at its beginning, among the rows and among the indexes
_KILLS = (3, 4, 8, 7, 9, 5, 2, 8, 20, 12)
_NEEDS = "the database needs Trainshed 0.2.0 or later, and this is 0.1.0: install that"


@pytest.mark.parametrize("cluster", ["sqlite", "postgresql"], indirect=True)
def test_a_stop_keeps_everything(cluster: Cluster, rollout: Rollout, stopped_release: Path) -> None:
    rollout.migrate(stopped_release)
    rollout.start(stopped_release, apis=1, workers=1)
    url = cluster.settings.effective_database_url
    with OldStack(rollout.switch.url) as stack:
        stack.fill()
        before = stack.answers()
        refused = rollout.run("migrate", code=ROOT, exit_code=1)
        assert "migration 0028 needs it for itself, but " in refused
        rollout.kill_all()
        for commits in _KILLS:
            kill_migration(url, commits)
        for command, code in (("migrate", 2), ("api", 2)):
            assert _NEEDS in rollout.run(command, code=stopped_release, exit_code=code)
        api = rollout.start_api(ROOT)
        half = "the schema is that of an older version: run `trainshed migrate` again"
        wait_until(lambda: readiness(api) == (503, half), "the API says that it is half moved", 300)
        api.program.kill_all()

        assert "The database is up to date." in rollout.migrate(ROOT)
        rollout.start(ROOT, apis=1, workers=1)
        assert differences(in_new_words(before), stack.answers()) == []
        assert stack.submit_again() == stack.jobs["succeeded"]
        stack.post("queues/night/resume")
        for name in ("scheduled", "in a paused queue"):  # whose queue no worker serves
            stack.post(f"jobs/{stack.jobs[name]}/cancel")
        cluster.expected = dict.fromkeys(map(UUID, stack.accepted), JobState.SUCCEEDED)
        for name, state in (
            ("failed", JobState.FAILED),
            ("cancelled", JobState.CANCELLED),
            ("scheduled", JobState.CANCELLED),
            ("in a paused queue", JobState.CANCELLED),
        ):
            cluster.expected[UUID(stack.jobs[name])] = state
        cluster.wait_for_all(timeout=600)
        assert sorted(cluster.expect_stored_jobs()) == sorted(cluster.expected)
        assert cluster.lost(UUID(stack.jobs["running"])) == 1
        cluster.database.write(stored.add_ratios)
        cluster.verify()
