"""A dataset is downloaded once, whoever loads it at the same time, and whoever is killed meanwhile."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from filelock import FileLock

from shared.datasets import catalog
from shared.errors import CancelRequested, DataUnavailable
from shared.settings import Settings
from tests.support.file_server import FileServer, Response
from tests.support.paths import ROOT
from tests.support.small_dataset import (
    IMAGES,
    PNG,
    TRAIN,
    assert_is_small,
    cache_entries,
    cache_folder,
)
from tests.support.waiting import wait_until


@pytest.fixture
def locked(small: Settings) -> Iterator[None]:
    """Another process holds the lock of the dataset, as while it downloads."""
    folder = catalog.entry_folder("small", small)
    folder.parent.mkdir(parents=True)
    with FileLock(f"{folder}.lock"):
        yield


@pytest.mark.usefixtures("locked")
def test_the_wait_for_another_process_can_be_interrupted(small: Settings) -> None:
    checks: list[None] = []

    def check() -> None:
        checks.append(None)
        if len(checks) > 3:
            raise CancelRequested

    with pytest.raises(CancelRequested):
        catalog.load("small", small, check)


@pytest.mark.usefixtures("locked")
def test_the_wait_for_another_process_ends_at_the_deadline(small: Settings) -> None:
    with pytest.raises(
        DataUnavailable, match="another process's download of the dataset `small` took longer than"
    ):
        catalog.load("small", small.model_copy(update={"download_deadline_s": 0.3}))


@pytest.mark.usefixtures("locked")
def test_the_download_of_one_dataset_delays_no_other(small: Settings) -> None:
    settings = small.model_copy(update={"datasets": {**small.datasets, "other": small.datasets["small"]}})
    assert_is_small(catalog.load("other", settings))
    assert catalog.load("digits", settings).info.name == "digits"


@pytest.mark.parametrize(
    "hostile",
    [Response(PNG, drip=(1, 0.1)), Response(silent=True), Response(PNG, drip=(1, 0.1), drips_headers=True)],
    ids=["drips", "silent", "drips headers"],
)
def test_an_interrupted_load_leaves_nothing_and_the_next_one_succeeds(
    hostile: Response, small: Settings, server: FileServer
) -> None:
    server.serve("/images", hostile)

    def check() -> None:
        if server.requests:
            raise CancelRequested

    with pytest.raises(CancelRequested):
        catalog.load("small", small, check)
    assert cache_entries(small) == []
    server.serve("/images", Response(PNG))
    assert_is_small(catalog.load("small", small))


LOADER = """
from shared.datasets import catalog
from shared.settings import Settings
print("ready", flush=True)
print(catalog.load("small", Settings()).train_images.sum())
"""


Start = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def start_loader(small: Settings) -> Iterator[Start]:
    """Starts a process that loads the dataset, and returns just before it does."""
    processes: list[subprocess.Popen[str]] = []
    source = small.datasets["small"].model_dump_json()
    environment = {
        **os.environ,
        "TRAINSHED_DATA_DIR": str(small.data_dir),
        "TRAINSHED_DATASETS": f'{{"small": {source}}}',
    }

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", LOADER], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def assert_has_loaded(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, f"{IMAGES[:TRAIN].sum()}\n")


@pytest.mark.slow
def test_two_processes_that_load_a_dataset_at_once_download_it_once(
    server: FileServer, start_loader: Start
) -> None:
    resume = Event()
    server.serve("/images", Response(PNG, pause_after=1_000, resume=resume))
    first = start_loader()
    wait_until(lambda: server.count("/images"), "the first process downloads")
    second = start_loader()
    resume.set()
    assert_has_loaded(first)
    assert_has_loaded(second)
    assert [request.path for request in server.requests] == ["/images", "/labels"]


def test_two_threads_that_load_a_dataset_at_once_download_it_once(
    small: Settings, server: FileServer
) -> None:
    with ThreadPoolExecutor(2) as threads:
        for dataset in threads.map(lambda _: catalog.load("small", small), range(2)):
            assert_is_small(dataset)
    assert len(server.requests) == 2


@pytest.mark.slow
def test_a_waiting_process_takes_over_the_download_of_a_killed_process(
    small: Settings, server: FileServer, start_loader: Start
) -> None:
    server.serve("/images", Response(PNG, pause_after=1_000), Response(PNG))
    first = start_loader()
    wait_until(lambda: server.count("/images"), "the first process downloads")
    second = start_loader()
    assert server.count("/images") == 1
    first.kill()
    assert_has_loaded(second)
    assert server.count("/images") == 2
    assert cache_entries(small) == [cache_folder(small).name]


def test_a_killed_download_leaves_no_bytes(small: Settings, server: FileServer, start_loader: Start) -> None:
    server.serve("/images", Response(PNG, pause_after=1_000))
    process = start_loader()
    wait_until(lambda: server.count("/images"), "the process downloads")
    process.kill()
    process.wait()
    files = [path for path in small.data_dir.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) == 0
