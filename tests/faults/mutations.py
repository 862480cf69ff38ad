"""Mutation tests: remove one safeguard at a time in a copy of the source, and run the test that must fail.

`python -m tests.faults.mutations` runs all of them, in about 10 minutes; arguments select those whose names
contain one of them. It prints a table, and exits with 1 if a mutation is not detected or no longer applies.
"""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

_SOURCES = ("api", "trainshed", "shared", "tests", "workers", "pyproject.toml")


@dataclass(frozen=True)
class Mutation:
    """The removal of one safeguard.

    Attributes:
        name: describes the mutated behaviour.
        path: the file that is changed.
        old: text that occurs in it once.
        new: its replacement.
        test: the test that must fail.
    """

    name: str
    path: str
    old: str
    new: str
    test: str


_KILLS = "tests/faults/test_worker_kills.py"
_BUNDLES = "tests/faults/test_bundle_kills.py"
_SEVERAL = "tests/unit/shared/store/test_several.py"
_BROKER = "tests/faults/test_broker_faults.py"
_BORDER = "tests/faults/test_broker_border.py"
_RESUME = "tests/faults/test_keras_resume.py"
_RACES = "tests/faults/test_reconcilers.py"
_CLAIMS = "tests/integration/test_store_races.py"
_CLIENTS = "tests/faults/test_client_load.py::test_what_clients_of_two_processes_see_of_each_job_has_an_order"

MUTATIONS = [
    Mutation(
        "the fence without the attempt",
        "shared/store/progress.py",
        'FENCE = (_JOBS.c.attempt == bindparam("of_attempt"), ',
        'FENCE = (_JOBS.c.attempt >= bindparam("of_attempt"), ',
        "tests/integration/test_store_repeats.py",
    ),
    Mutation(
        "a report of several jobs without the fence",
        "shared/store/progress.py",
        "Statement(update_of(event, *FENCE, *guards",
        'Statement(update_of(event, _JOBS.c.attempt >= bindparam("of_attempt"), *guards',
        f"{_SEVERAL}::test_one_that_runs_again_elsewhere_is_not_ended_by_a_late_report",
    ),
    Mutation(
        "epochs at the end of an attempt without the weights that the job keeps",
        "shared/store/progress.py",
        "            if weights := self.weights:\n",
        "            if (weights := self.weights) and resumable:\n",
        _KILLS + "::test_job_survives_a_kill_at_a_commit",
    ),
    Mutation(
        "epochs recorded without the fence",
        "shared/store/progress.py",
        "(update_of(EventType.PROGRESS, *FENCE, *guards",
        '(update_of(EventType.PROGRESS, _JOBS.c.attempt >= bindparam("of_attempt"), *guards',
        "tests/integration/test_store_repeats.py",
    ),
    Mutation(
        "events in states that do not allow them",
        "shared/store/transitions.py",
        ".where(in_states(edge.sources), *guards)",
        ".where(*guards)",
        "tests/unit/shared/store/test_transitions.py::test_each_event_is_accepted_only_in_its_source_states",
    ),
    Mutation(
        "claims that ignore the order",
        "shared/store/claims.py",
        "of_tenant.order_by(*places.ORDER)",
        "of_tenant.order_by(Job.id.desc())",
        "tests/unit/shared/store/test_places.py",
    ),
    Mutation(
        "claims that count what runs while others claim",
        "shared/store/limits.py",
        '    _lock(session, "SHARE ROW EXCLUSIVE")\n',
        "",
        "tests/unit/shared/store/test_limits.py",
    ),
    Mutation(
        "a limit that does not wait for the claims that do not know it",
        "shared/store/limits.py",
        '    _lock(session, "ACCESS EXCLUSIVE")\n',
        "    pass\n",
        "tests/unit/shared/store/test_limits.py",
    ),
    Mutation(
        "a victim's slot for whichever job is next",
        "shared/store/claims.py",
        "jobs = _start_urgent(session, before_all, start, lease_s, now)",
        "jobs = []",
        "tests/unit/shared/store/test_preemption.py",
    ),
    Mutation(
        "another job for a claim that was not confirmed",
        "workers/runner.py",
        "again = next(runs) > 0",
        "again = False",
        "tests/unit/workers/test_runner.py",
    ),
    Mutation(
        "a job that is preempted again at once",
        "shared/store/preemption.py",
        "or_(Attempt.started_at <= now(-min_run_s), ",
        "or_(Attempt.started_at <= now(), ",
        "tests/unit/shared/store/test_preemption.py",
    ),
    Mutation(
        "turns that ignore what tenants have used",
        "shared/store/turns.py",
        "return self.time_s - self.head_start_s +",
        "return -self.head_start_s +",
        "tests/unit/shared/store/test_turns.py",
    ),
    Mutation(
        "later tenants that pass for ever",
        "shared/store/turns.py",
        "is_overdue=(row.at - waits_since).total_seconds() > rules.passed_s,",
        "is_overdue=False,",
        "tests/unit/shared/store/test_turns.py",
    ),
    Mutation(
        "later jobs that pass for ever",
        "shared/store/places.py",
        "min(now_s, max(row.turn, now_s - rules.passed_s))",
        "min(now_s, row.turn)",
        "tests/unit/shared/store/test_turns.py",
    ),
    Mutation(
        "weights that count for nothing",
        "shared/store/turns.py",
        "weight=of_tenants.get(row.tenant, 1.0),",
        "weight=1.0,",
        "tests/unit/shared/store/test_turns.py",
    ),
    Mutation(
        "credit for a tenant that was idle",
        "shared/store/tenants.py",
        "func.coalesce(least, 0.0) + used",
        "used",
        "tests/unit/shared/store/test_turns.py",
    ),
    Mutation(
        "single jobs that all take the same turn",
        "shared/store/places.py",
        "row.last + JOB_S if",
        "row.last if",
        "tests/unit/shared/store/test_turns.py",
    ),
    Mutation(
        "a claim that goes by what it has read for ever",
        "shared/store/known_turns.py",
        "self._monotonic() < known.until",
        "True",
        "tests/unit/shared/store/test_turns.py",
    ),
    Mutation(
        "use that is lost with a transaction that failed",
        "shared/store/known_turns.py",
        "self._owed[of].add(settlement.taken[of])",
        "pass",
        "tests/unit/shared/store/test_turns.py",
    ),
    Mutation(
        "claims of a job that another claim has locked",
        "shared/store/claims.py",
        "key_share=True, skip_locked=True",
        "key_share=True",
        f"{_CLAIMS}::test_claims_do_not_wait_for_each_other",
    ),
    Mutation(
        "free slots that are not woken up for jobs whose messages were lost",
        "workers/reconciler.py",
        "limit = self._free_slots() + self._requeued",
        "limit = self._requeued",
        f"{_BROKER}::test_message_lost_with_an_idle_worker_is_sent_again",
    ),
    Mutation(
        "messages that kombu and Celery read themselves",
        "workers/app.py",
        "transport.install()\n",
        "",
        f"{_BORDER}::test_no_task_but_our_own_is_run",
    ),
    Mutation(
        "a Redis that refuses a command is no outage",
        "workers/transport.py",
        "(*redis.Transport.connection_errors, ResponseError)",
        "redis.Transport.connection_errors",
        f"{_BORDER}::test_a_worker_waits_until_a_redis_that_refuses_is_mended",
    ),
    Mutation(
        "reaping without a lock on the expired leases",
        "shared/store/recovery.py",
        "jobs.order_by(Job.id).with_for_update(key_share=True, skip_locked=True)\n",
        "jobs.order_by(Job.id)\n",
        f"{_RACES}::test_renewal_that_races_a_reap_wins_if_it_is_first",
    ),
    Mutation(
        "reaping immediately after an outage",
        "workers/reconciler.py",
        "return moment - self._observing_since >= lease",
        "return True",
        f"{_KILLS}::test_suspension_of_the_whole_machine_costs_no_attempt",
    ),
    Mutation(
        "the checkpoint outside the epoch's transaction",
        "shared/store/progress.py",
        "                results.put_checkpoint(",
        "                session.commit()\n                results.put_checkpoint(",
        f"{_KILLS}::test_jobs_survive_a_kill_at_every_commit",
    ),
    Mutation(
        "an attempt that continues although it cannot renew its lease",
        "workers/pulse.py",
        "            self._await_renewal()\n",
        "            pass\n",
        "tests/unit/workers/test_pulse.py"
        "::test_an_attempt_ends_when_its_parent_has_renewed_nothing_for_two_thirds_of_a_lease",
    ),
    Mutation(
        "a heartbeat that renews for a process that is dead",
        "workers/leases.py",
        "[pulse for pulse in pulses if not pulse.is_silent]",
        "list(pulses)",
        "tests/unit/workers/test_worker_leases.py"
        "::test_a_process_that_is_silent_loses_its_lease_and_no_other_does",
    ),
    Mutation(
        "pool processes that outlive their parent",
        "workers/pulse.py",
        "                self._end()\n",
        "                pass\n",
        "tests/unit/workers/test_pulse.py::test_a_process_ends_itself_when_its_parent_has_died",
    ),
    Mutation(
        "a report that is not idempotent",
        "shared/store/progress.py",
        "elif _outcome(session, end.attempt) == end.outcome:",
        "elif False:",
        "tests/integration/test_store_repeats.py",
    ),
    Mutation(
        "an unconfirmed write that is repeated together with later progress",
        "workers/pending.py",
        "        batch = self._reached[: self._unconfirmed or None]\n",
        "        batch = self._reached[:]\n",
        "tests/unit/workers/test_pending.py::test_a_write_that_was_not_confirmed_is_repeated_unchanged",
    ),
    Mutation(
        "a released job without a checkpoint after its last epochs",
        "shared/store/progress.py",
        "resumable=self.change.target == JobState.QUEUED",
        "resumable=False",
        "tests/unit/shared/store/test_progress.py",
    ),
    Mutation(
        "no limit on an idle transaction",
        "shared/db/postgresql.py",
        '"idle_in_transaction_session_timeout": "\'10s\'"',
        '"idle_in_transaction_session_timeout": "\'0\'"',
        "tests/unit/shared/db/test_engine.py"
        "::test_a_transaction_that_was_idle_for_too_long_is_ended_by_the_server_and_retried",
    ),
    Mutation(
        "lost attempts without a limit",
        "shared/store/recovery.py",
        "elif lost_attempts < max_lost_attempts",
        "elif True",
        f"{_KILLS}::test_job_that_kills_its_workers_fails_and_the_next_job_succeeds",
    ),
    Mutation(
        "a reconciler that counts first attempts of jobs that were claimed together",
        "shared/store/recovery.py",
        "        if _is_of_several(job):\n",
        "        if False:\n",
        f"{_BUNDLES}::test_a_killed_worker_loses_no_first_attempt_of_jobs_claimed_together",
    ),
    Mutation(
        "a parent that counts attempts that had not begun",
        "shared/store/recovery.py",
        "if (AttemptId(job.id, job.attempt) != begun if begun else _is_of_several(job))",
        "if (False if begun else _is_of_several(job))",
        f"{_BUNDLES}::test_a_job_that_kills_its_process_costs_the_jobs_claimed_with_it_no_attempt",
    ),
    Mutation(
        "a long job that holds up those that were claimed with it",
        "workers/scribe.py",
        "                self._unload(self._database)",
        "                pass",
        "tests/unit/workers/test_together.py::test_a_long_job_holds_up_none_that_was_claimed_with_it",
    ),
    Mutation(
        "claims of several jobs with one that was tried before",
        "shared/store/claims.py",
        "or_(ranked.c.tried == 0, ranked.c.number == 1)",
        "ranked.c.number > 0",
        f"{_SEVERAL}::test_a_job_that_was_tried_before_is_claimed_alone",
    ),
    Mutation(
        "a killed pool process that keeps its job",
        "workers/parent.py",
        "        self._pool_watch.start()\n",
        "",
        "tests/faults/test_pool_kills.py"
        "::test_job_of_a_killed_pool_process_runs_again_within_3_s_at_the_default_settings",
    ),
    Mutation(
        "a single look for the job of a killed pool process",
        "workers/pool_watch.py",
        "_LOOKS = 4\n",
        "_LOOKS = 1\n",
        "tests/unit/workers/test_pool_watch.py"
        "::test_a_job_whose_claim_is_committed_after_the_end_of_its_process_is_taken",
    ),
    Mutation(
        "a stop that counts as a lost attempt",
        "workers/app.py",
        "        _parent.stop_jobs()\n",
        "        pass\n",
        f"{_KILLS}::test_worker_that_is_stopped_releases_its_job",
    ),
    Mutation(
        "results discarded in an outage",
        "workers/reports.py",
        "            if process.stop.is_set():\n                return []\n",
        "            return []\n",
        "tests/unit/workers/test_outcomes.py::test_result_is_reported_after_an_outage_of_the_database",
    ),
    Mutation(
        "a checkpoint whose checksum is not verified",
        "shared/store/results.py",
        "    if row is None or sha256(row.state).hexdigest() != row.sha256:\n",
        "    if row is None:\n",
        "tests/faults/test_database_faults.py::test_damaged_checkpoint_is_not_used_and_the_job_starts_over",
    ),
    Mutation(
        "a resume without the optimizer's state",
        "workers/mnist/training.py",
        "        return checkpoints.unpack(start.state, 1 + slots, length, step)\n",
        "        weights, *rest = checkpoints.unpack(start.state, 1 + slots, length, step)\n"
        "        return [weights, *(0 * slot for slot in rest)]\n",
        f"{_RESUME}::test_real_training_resumes_bit_for_bit",
    ),
    Mutation(
        "an epoch order that depends on where training was resumed",
        "workers/mnist/training.py",
        "        order = epoch_order(spec.seed, epoch, spec.train_size)\n",
        "        order = epoch_order(spec.seed, epoch - first_epoch, spec.train_size)\n",
        f"{_RESUME}::test_real_training_resumes_bit_for_bit",
    ),
    Mutation(
        "a failed worker that exits with status 0",
        "workers/__main__.py",
        "    sys.exit(worker.exitcode)\n",
        "    sys.exit(0)\n",
        f"{_KILLS}::test_worker_that_cannot_run_jobs_ends_with_a_failure_status",
    ),
    Mutation(
        "a poll answered from stale bytes after a write",
        "shared/store/change_feed.py",
        "                listener(job_ids)\n",
        "                pass\n",
        "tests/unit/api/http/test_rendered.py::test_change_by_this_process_is_seen_at_once",
    ),
    Mutation(
        "bytes kept that were read before a write",
        "api/jobs/rendered.py",
        "                rendering.is_outdated = True\n",
        "                pass\n",
        "tests/unit/api/http/test_rendered.py::test_what_was_read_before_a_change_is_not_kept_after_it",
    ),
    Mutation(
        "an acknowledged submit that was not committed, one of two",
        "shared/store/group_commit.py",
        "    return list(zip(waiting, outcomes, strict=True))\n",
        "    if waiting and waiting[0].new.id.int % 2 == 0:\n        session.rollback()\n"
        "    return list(zip(waiting, outcomes, strict=True))\n",
        f"{_CLIENTS}[sqlite]",
    ),
    Mutation(
        "a poll from a stale cache after a write through another process",
        "api/http/rendered.py",
        "    return any(int(version) > rendered.source.version for version in _VERSIONS.findall(tags))\n",
        "    return False\n",
        f"{_CLIENTS}[sqlite]",
    ),
]


def main(names: list[str]) -> int:
    """Run the mutations whose names contain one of `names`, or all; return the exit status."""
    selected = [
        mutation for mutation in MUTATIONS if not names or any(name in mutation.name for name in names)
    ]
    verdicts = [_verdict(mutation) for mutation in selected]
    return int(any(verdict != "detected" for verdict in verdicts))


def _verdict(mutation: Mutation) -> str:
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy = Path(folder)
        _copy_tree(copy)
        verdict = _run(copy, mutation) if _apply(copy, mutation) else "DOES NOT APPLY"
    sys.stdout.write(f"{mutation.name:55} {verdict:15} {mutation.test.partition('::')[2] or mutation.test}\n")
    sys.stdout.flush()
    return verdict


def _copy_tree(copy: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    for name in _SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=ignored)
        else:
            shutil.copy(source, copy)


def _apply(copy: Path, mutation: Mutation) -> bool:
    path = copy / mutation.path
    text = path.read_text()
    path.write_text(text.replace(mutation.old, mutation.new))
    return text.count(mutation.old) == 1


def _run(copy: Path, mutation: Mutation) -> str:
    command = [sys.executable, "-m", "pytest", "-x", "-q", mutation.test]
    ended = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    if "no tests ran" in ended.stdout or ended.returncode not in (0, 1):
        return "BROKEN TEST"
    return "detected" if ended.returncode == 1 else "NOT DETECTED"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
