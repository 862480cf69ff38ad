"""Workers whose clocks are wrong, training steps that hang, and attempts that exceed their time limit."""

import shutil
import subprocess
from pathlib import Path

import pytest

from shared.lifecycle import JobState
from tests.faults.cluster import Cluster
from tests.faults.conftest import NewCluster
from tests.support.lacking import environment_lacks
from tests.support.servers import RedisServer
from tests.support.stub_executor import Behaviour

pytestmark = pytest.mark.faults

_SHIFTED_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long shift(void) { const char *text = getenv("CLOCK_SHIFT_S"); return text ? atol(text) : 0; }

int clock_gettime(clockid_t clock, struct timespec *moment) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, moment);
    if (clock == CLOCK_REALTIME) moment->tv_sec += shift();
    return status;
}

int gettimeofday(struct timeval *moment, void *zone) {
    int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
    int status = real(moment, zone);
    moment->tv_sec += shift();
    return status;
}

time_t time(time_t *moment) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (moment) *moment = now.tv_sec;
    return now.tv_sec;
}
"""


@pytest.fixture(scope="module")
def shifted_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library for LD_PRELOAD that shifts the process's wall clock by CLOCK_SHIFT_S."""
    compiler = shutil.which("cc")
    if compiler is None:
        environment_lacks("no C compiler for the library that shifts a clock: apt-get install gcc libc6-dev")
    folder = tmp_path_factory.mktemp("clock")
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(_SHIFTED_CLOCK)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.mark.parametrize("shift_s", [3_600, -3_600])
def test_workers_whose_clocks_are_an_hour_off_keep_their_leases(
    new_cluster: NewCluster, redis: RedisServer, postgresql_url: str, shifted_clock: Path, shift_s: int
) -> None:
    with new_cluster(postgresql_url, redis.url) as cluster:
        shifted = {"LD_PRELOAD": str(shifted_clock), "CLOCK_SHIFT_S": str(shift_s)}
        off, correct = cluster.worker(shifted), cluster.worker()
        job_ids = [cluster.submit(epochs=12) for _ in range(2)]
        for job_id in job_ids:
            assert cluster.wait_for(job_id, JobState.SUCCEEDED).attempt == 1
        correct.kill_all()
        last = cluster.submit()
        assert cluster.wait_for(last, JobState.SUCCEEDED).attempt == 1
        assert off.code is None


def test_hung_step_ends_its_job_but_not_its_worker(
    new_cluster: NewCluster, redis: RedisServer, database_url: str
) -> None:
    with new_cluster(database_url, redis.url, no_progress_s=1.5) as cluster:
        worker = cluster.worker()
        job_id = cluster.submit(seed=Behaviour.HANGS, ends=JobState.FAILED)
        assert cluster.wait_for(job_id, JobState.FAILED).error_code == "timeout"
        cluster.wait_for(cluster.submit(), JobState.SUCCEEDED)
        assert worker.code is None


def test_attempt_that_exceeds_its_time_limit_fails_with_timeout(sqlite_cluster: Cluster) -> None:
    sqlite_cluster.worker()
    job_id = sqlite_cluster.submit(epochs=100, ends=JobState.FAILED, options={"max_runtime_s": 1.0})
    ended = sqlite_cluster.wait_for(job_id, JobState.FAILED)
    assert (ended.error_code, ended.attempt) == ("timeout", 1)
