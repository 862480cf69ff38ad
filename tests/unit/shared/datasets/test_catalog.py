"""A dataset is downloaded and decoded once for all processes, and only complete datasets are cached."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from filelock import FileLock

from shared.datasets import cache, catalog
from shared.errors import CancelRequested, DataCorrupt, DatasetNotFound, DataUnavailable
from shared.settings import Settings, SpriteSource
from tests.support.file_server import FileServer, Response, running_file_server
from tests.support.full_disk import files_limited_to
from tests.support.paths import ROOT
from tests.support.sprite_files import grey_png, make_images, make_labels, one_hot
from tests.support.waiting import wait_until

TRAIN, TEST = 8, 4
IMAGES = make_images(TRAIN + TEST)
LABELS = make_labels(TRAIN + TEST)
PNG = grey_png(IMAGES)
ONE_HOT = one_hot(LABELS).tobytes()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with running_file_server() as server:
        server.serve("/images", Response(PNG))
        server.serve("/labels", Response(ONE_HOT))
        yield server


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def small(server: FileServer, tmp_path: Path) -> Settings:
    """Settings with the file server's dataset, `small`, of 8 training and 4 test images."""
    return small_settings(tmp_path, server.url("/images"), server.url("/labels"))


def small_settings(data_dir: Path, images_url: str, labels_url: str, **rows: int) -> Settings:
    source = SpriteSource(
        images_url=images_url, labels_url=labels_url, **{"train_rows": TRAIN, "test_rows": TEST, **rows}
    )
    return Settings(data_dir=data_dir, datasets={"small": source}, download_timeout_s=5, download_attempts=2)


def local_settings(folder: Path) -> Settings:
    """Settings whose dataset, `small`, is read from files in a folder."""
    images, labels = folder / "images", folder / "labels"
    images.write_bytes(PNG)
    labels.write_bytes(ONE_HOT)
    return small_settings(folder / "data", images.as_uri(), labels.as_uri())


def assert_is_small(dataset: catalog.Dataset) -> None:
    np.testing.assert_array_equal(dataset.train_images, IMAGES[:TRAIN])
    np.testing.assert_array_equal(dataset.train_labels, LABELS[:TRAIN])
    np.testing.assert_array_equal(dataset.test_images, IMAGES[TRAIN:])
    np.testing.assert_array_equal(dataset.test_labels, LABELS[TRAIN:])


def cache_entries(settings: Settings) -> list[str]:
    """The names of the cache entries on the disk."""
    folder = settings.data_dir / "datasets"
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def array_versions(settings: Settings) -> dict[Path, tuple[int, int]]:
    """The inode and modification time of each array in the cache; decoding it again changes both."""
    paths = (settings.data_dir / "datasets").glob("*/*.npy")
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def cache_folder(settings: Settings) -> Path:
    [name] = cache_entries(settings)
    return settings.data_dir / "datasets" / name


def test_the_datasets_are_mnist_the_configured_ones_and_digits(small: Settings) -> None:
    assert catalog.dataset_names(small) == ("mnist", "small", "digits")


def test_mnist_has_the_sizes_of_the_codelab() -> None:
    info = catalog.describe("mnist", Settings())
    assert (info.train_rows, info.test_rows) == (55_000, 10_000)
    assert (info.default_train_size, info.default_validation_size, info.default_evaluation_size) == (
        5_500,
        1_000,
        500,
    )
    assert info.class_names[7] == "Seven"


def test_the_default_sizes_of_digits_use_all_images(small: Settings) -> None:
    info = catalog.describe("digits", small)
    assert (info.train_rows, info.test_rows) == (1_400, 397)
    assert info.default_train_size == 1_400
    assert info.default_validation_size + info.default_evaluation_size == info.test_rows
    assert len(info.class_names) == 10


@pytest.mark.parametrize(
    ("test_rows", "validation", "evaluation"),
    [(10_000, 1_000, 500), (1_500, 1_000, 500), (1_499, 1_000, 499), (300, 200, 100), (4, 3, 1), (2, 1, 1)],
)
def test_default_sizes_do_not_exceed_the_test_rows(test_rows: int, validation: int, evaluation: int) -> None:
    settings = small_settings(Path(), "file:///a", "file:///b", test_rows=test_rows)
    info = catalog.describe("small", settings)
    assert info.default_train_size == TRAIN
    assert (info.default_validation_size, info.default_evaluation_size) == (validation, evaluation)


def test_an_unknown_dataset_is_refused_with_the_configured_names(small: Settings) -> None:
    for function in (catalog.describe, catalog.load):
        with pytest.raises(DatasetNotFound, match=r"no dataset 'cifar'.*: mnist, small, digits"):
            function("cifar", small)


def test_describing_a_dataset_downloads_nothing(small: Settings, server: FileServer) -> None:
    catalog.describe("small", small)
    assert server.requests == []
    assert list(small.data_dir.iterdir()) == []


def test_rows_are_divided_into_training_and_test(small: Settings) -> None:
    dataset = catalog.load("small", small)
    assert dataset.info == catalog.describe("small", small)
    assert_is_small(dataset)


def test_arrays_are_mapped_and_read_only(small: Settings) -> None:
    dataset = catalog.load("small", small)
    for array in (dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels):
        assert isinstance(array, np.memmap)
        assert array.dtype == np.uint8
        assert not array.flags.writeable


def test_first_load_downloads_two_files(small: Settings, server: FileServer) -> None:
    catalog.load("small", small)
    assert [request.path for request in server.requests] == ["/images", "/labels"]


def test_second_load_decodes_nothing_and_downloads_nothing(small: Settings, server: FileServer) -> None:
    catalog.load("small", small)
    before = array_versions(small)
    assert_is_small(catalog.load("small", small))
    assert array_versions(small) == before
    assert len(server.requests) == 2


def test_only_the_arrays_and_their_checksums_are_kept(small: Settings) -> None:
    catalog.load("small", small)
    assert cache_entries(small) == [cache_folder(small).name]
    assert sorted(path.name for path in cache_folder(small).iterdir()) == [
        "checksums.json",
        "images.npy",
        "labels.npy",
    ]


def test_files_at_file_urls_are_read_in_place(tmp_path: Path) -> None:
    assert_is_small(catalog.load("small", local_settings(tmp_path)))


def test_rows_beyond_training_and_test_are_not_used(small: Settings, server: FileServer) -> None:
    images, labels = make_images(20), make_labels(20)
    images[: len(IMAGES)], labels[: len(LABELS)] = IMAGES, LABELS
    server.serve("/images", Response(grey_png(images)))
    server.serve("/labels", Response(one_hot(labels).tobytes()))
    assert_is_small(catalog.load("small", small))


def test_another_split_of_the_same_files_is_not_decoded_again(small: Settings) -> None:
    catalog.load("small", small)
    before = array_versions(small)
    source = small.datasets["small"].model_copy(update={"train_rows": 5, "test_rows": 3})
    dataset = catalog.load("small", small.model_copy(update={"datasets": {"small": source}}))
    np.testing.assert_array_equal(dataset.test_images, IMAGES[5:8])
    assert array_versions(small) == before


def test_another_address_has_its_own_cache_entry(small: Settings, server: FileServer) -> None:
    catalog.load("small", small)
    other_labels = (LABELS + 1) % 10
    source = small.datasets["small"].model_copy(
        update={"labels_url": server.serve("/other", Response(one_hot(other_labels).tobytes()))}
    )
    dataset = catalog.load("small", small.model_copy(update={"datasets": {"small": source}}))
    np.testing.assert_array_equal(dataset.train_labels, other_labels[:TRAIN])


def with_checksums(settings: Settings, images: bytes = PNG, labels: bytes = ONE_HOT) -> Settings:
    """The settings, with the checksums of these files."""
    checksums = {"images_sha256": sha256(images).hexdigest(), "labels_sha256": sha256(labels).hexdigest()}
    source = settings.datasets["small"].model_copy(update=checksums)
    return settings.model_copy(update={"datasets": {"small": source}})


def test_files_with_the_expected_checksums_are_loaded(small: Settings) -> None:
    assert_is_small(catalog.load("small", with_checksums(small)))


@pytest.mark.parametrize(
    ("path", "other"),
    [("/images", {"images": grey_png(IMAGES[::-1])}), ("/labels", {"labels": ONE_HOT[::-1]})],
)
def test_a_file_with_another_checksum_is_refused_with_its_address_and_nothing_is_cached(
    path: str, other: dict[str, bytes], small: Settings, server: FileServer
) -> None:
    settings = with_checksums(small, **other)
    [content] = other.values()
    with pytest.raises(
        DataCorrupt, match=f"^{server.url(path)}: expected SHA-256 {sha256(content).hexdigest()}"
    ):
        catalog.load("small", settings)
    assert cache_entries(settings) == []

    server.serve(path, Response(content))
    catalog.load("small", settings)


def test_another_checksum_has_its_own_cache_entry(small: Settings, server: FileServer) -> None:
    catalog.load("small", small)
    catalog.load("small", with_checksums(small))
    assert len(cache_entries(small)) == 2
    assert len(server.requests) == 4


def test_without_checksums_the_cache_entry_has_the_name_of_earlier_versions(small: Settings) -> None:
    catalog.load("small", small)
    source = small.datasets["small"]
    key = sha256(f"1\n{source.images_url}\n{source.labels_url}".encode()).hexdigest()[:16]
    assert cache_entries(small) == [f"small-{key}"]


def test_a_dataset_name_cannot_escape_the_cache_folder(small: Settings) -> None:
    name = "../../out"
    settings = small.model_copy(update={"datasets": {name: small.datasets["small"]}})
    assert_is_small(catalog.load(name, settings))
    assert [path.name for path in small.data_dir.iterdir()] == ["datasets"]


CORRUPT = {
    "truncated PNG": ("/images", PNG[: len(PNG) // 2]),
    "HTML page for images": ("/images", b"<!DOCTYPE html><html>Please sign in</html>"),
    "JSON for images": ("/images", b'{"error": "quota"}'),
    "783 columns": ("/images", grey_png(IMAGES[:, 1:])),
    "one row too few": ("/images", grey_png(IMAGES[1:])),
    "one row more than labels": ("/images", grey_png(make_images(13))),
    "labels short by a byte": ("/labels", ONE_HOT[:-1]),
    "labels long by a byte": ("/labels", ONE_HOT + b"\0"),
    "two ones": ("/labels", b"\1\1" + ONE_HOT[2:]),
    "HTML page for labels": ("/labels", b"<html>"),
}


@pytest.mark.parametrize("case", CORRUPT)
def test_a_corrupt_file_is_refused_with_its_address_and_nothing_is_cached(
    case: str, small: Settings, server: FileServer
) -> None:
    path, content = CORRUPT[case]
    good = {"/images": PNG, "/labels": ONE_HOT}[path]
    server.serve(path, Response(content))
    named = "/labels" if case == "one row more than labels" else path
    with pytest.raises(DataCorrupt, match=server.url(named)):
        catalog.load("small", small)
    assert cache_entries(small) == []

    server.serve(path, Response(good))
    assert_is_small(catalog.load("small", small))


@pytest.mark.parametrize("path", ["/images", "/labels"])
def test_an_unavailable_file_is_refused_with_its_address_and_nothing_is_cached(
    path: str, small: Settings, server: FileServer
) -> None:
    server.serve(path, Response(status=404))
    with pytest.raises(DataUnavailable, match=f"{server.url(path)}: HTTP 404 Not Found"):
        catalog.load("small", small)
    assert cache_entries(small) == []


def test_a_disk_that_is_full_during_a_download_is_reported_and_nothing_is_cached(small: Settings) -> None:
    with files_limited_to(len(PNG) // 2), pytest.raises(DataUnavailable, match="the disk cannot keep"):
        catalog.load("small", small)
    assert cache_entries(small) == []
    assert_is_small(catalog.load("small", small))


def test_a_disk_that_is_full_while_arrays_are_written_is_reported_and_nothing_is_cached(
    tmp_path: Path,
) -> None:
    settings = local_settings(tmp_path)
    with files_limited_to(IMAGES.nbytes), pytest.raises(DataUnavailable, match="the disk cannot keep"):
        catalog.load("small", settings)
    assert cache_entries(settings) == []
    assert_is_small(catalog.load("small", settings))


def test_a_data_dir_that_cannot_be_written_to_is_reported(small: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        DataUnavailable, match=r"the disk cannot keep .*: Not a directory.*TRAINSHED_DATA_DIR"
    ):
        catalog.load("small", small.model_copy(update={"data_dir": tmp_path / "file"}))


@pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
@pytest.mark.parametrize("damage", ["missing", "empty", "short", "garbage", "header", "shape", "type"])
def test_a_damaged_cache_entry_is_built_again(
    name: str, damage: str, small: Settings, server: FileServer
) -> None:
    catalog.load("small", small)
    path = cache_folder(small) / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "shape":
        np.save(path, np.zeros((3, 784), np.uint8))
    elif damage == "type":
        np.save(path, np.load(path).astype(np.int8))
    else:
        path.write_bytes(
            {
                "empty": b"",
                "short": content[:-1],
                "garbage": b"\0" * len(content),
                "header": content[:10] + b"(((" + content[13:],
            }[damage]
        )
    assert_is_small(catalog.load("small", small))
    assert server.count("/images") == 2
    assert_is_small(catalog.load("small", small))
    assert server.count("/images") == 2


def damage_cache(settings: Settings, name: str, at: int, content: bytes) -> None:
    """Change bytes of a cached file in place, so that another process, or a later start, finds them."""
    path = cache_folder(settings) / name
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)
    cache._verified.clear()  # as in a new process


@pytest.mark.parametrize(
    ("name", "at", "content"),
    [
        ("images.npy", 2_000, bytes(1_000)),
        ("labels.npy", 130, b"\xc8"),
        ("labels.npy", 128 + TRAIN, b"\0"),
        ("checksums.json", 0, b"?"),
        ("checksums.json", 1, b"\xff"),
    ],
    ids=["zeroed images", "a label of 200", "a label of another class", "no JSON", "no UTF-8"],
)
def test_a_cache_entry_with_changed_bytes_is_built_again(
    name: str, at: int, content: bytes, small: Settings, server: FileServer
) -> None:
    catalog.load("small", small)
    damage_cache(small, name, at, content)
    assert_is_small(catalog.load("small", small))
    assert server.count("/images") == 2


def test_a_cache_entry_of_a_version_without_checksums_is_built_again(
    small: Settings, server: FileServer
) -> None:
    catalog.load("small", small)
    (cache_folder(small) / "checksums.json").unlink()
    cache._verified.clear()
    assert_is_small(catalog.load("small", small))
    assert server.count("/images") == 2


def test_an_array_in_use_survives_the_rebuilding_of_its_cache_entry(small: Settings) -> None:
    dataset = catalog.load("small", small)
    (cache_folder(small) / "labels.npy").unlink()
    catalog.load("small", small)
    assert_is_small(dataset)


def test_an_unfinished_cache_entry_of_a_killed_process_is_discarded(small: Settings) -> None:
    catalog.load("small", small)
    work = cache_folder(small).rename(cache_folder(small).with_name(f"{cache_folder(small).name}.part"))
    np.save(work / "images.npy", np.zeros((TRAIN + TEST, 784), np.uint8))
    assert_is_small(catalog.load("small", small))
    assert cache_entries(small) == [work.name.removesuffix(".part")]


def test_a_cached_dataset_is_returned_without_its_lock(small: Settings) -> None:
    catalog.load("small", small)
    with FileLock(f"{cache_folder(small)}.lock"):
        assert_is_small(catalog.cached("small", small))
        assert_is_small(catalog.load("small", small))


def test_a_dataset_that_is_not_cached_is_not_downloaded_by_those_who_need_it_at_once(
    small: Settings, server: FileServer
) -> None:
    with pytest.raises(
        DataUnavailable, match=r"`small` is not in the cache under .*A worker .* downloads it"
    ):
        catalog.cached("small", small)
    assert server.requests == []
    assert list(small.data_dir.iterdir()) == []


def test_the_bundled_digits_need_no_cache(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    dataset = catalog.cached("digits", settings.model_copy(update={"data_dir": tmp_path / "file"}))
    np.testing.assert_array_equal(dataset.test_images, catalog.load("digits", settings).test_images)
    np.testing.assert_array_equal(dataset.train_labels, catalog.load("digits", settings).train_labels)


def test_a_cached_dataset_of_an_unknown_name_is_not_found(small: Settings) -> None:
    with pytest.raises(DatasetNotFound, match="no dataset 'cifar'"):
        catalog.cached("cifar", small)


@pytest.fixture
def locked(small: Settings) -> Iterator[None]:
    """Another process holds the lock of the dataset, as while it downloads."""
    folder = catalog._folder("small", small)
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


def test_digits_need_no_address_and_are_decoded_once(settings: Settings) -> None:
    dataset = catalog.load("digits", settings)
    assert dataset.train_images.shape == (1_400, 784)
    assert dataset.test_images.shape == (397, 784)
    assert dataset.train_labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    before = array_versions(settings)
    catalog.load("digits", settings)
    assert array_versions(settings) == before


def test_a_configured_sprite_named_digits_replaces_the_bundled_digits(small: Settings) -> None:
    settings = small.model_copy(update={"datasets": {"digits": small.datasets["small"]}})
    assert catalog.dataset_names(settings) == ("mnist", "digits")
    assert_is_small(catalog.load("digits", settings))


def test_the_real_sprite_is_mnist(settings: Settings, real_mnist: dict[str, str]) -> None:
    dataset = catalog.load("mnist", settings.model_copy(update=real_mnist))
    images, labels = dataset.train_images, dataset.train_labels
    assert (images.shape, dataset.test_images.shape) == ((55_000, 784), (10_000, 784))
    assert np.bincount(labels, minlength=10).min() > 4_500
    assert np.bincount(dataset.test_labels, minlength=10).min() > 800
    assert 32 < images.mean() < 35
    # shows that images and labels belong together: the nearest of ten mean images is right four times in five
    means = np.stack([images[:10_000][labels[:10_000] == label].mean(axis=0) for label in range(10)])
    distances = ((dataset.test_images[:1_000, None].astype(np.float32) - means) ** 2).sum(axis=2)
    assert (distances.argmin(axis=1) == dataset.test_labels[:1_000]).mean() > 0.75
