"""A dataset is decoded once for all processes, and a damaged cache entry is built again."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from shared.datasets import cache, catalog
from shared.errors import DatasetNotFound, DataUnavailable
from shared.settings import Settings
from tests.support.file_server import FileServer, Response
from tests.support.small_dataset import (
    IMAGES,
    LABELS,
    TEST,
    TRAIN,
    assert_is_small,
    cache_entries,
    cache_folder,
    with_checksums,
)
from tests.support.sprite_files import one_hot


def array_versions(settings: Settings) -> dict[Path, tuple[int, int]]:
    """The inode and modification time of each array in the cache; decoding it again changes both."""
    paths = (settings.data_dir / "datasets").glob("*/*.npy")
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def test_second_load_decodes_nothing_and_downloads_nothing(small: Settings, server: FileServer) -> None:
    catalog.load("small", small)
    before = array_versions(small)
    assert_is_small(catalog.load("small", small))
    assert array_versions(small) == before
    assert len(server.requests) == 2


def test_only_the_arrays_their_checksums_and_their_source_are_kept(small: Settings) -> None:
    catalog.load("small", small)
    assert cache_entries(small) == [cache_folder(small).name]
    assert sorted(path.name for path in cache_folder(small).iterdir()) == [
        "checksums.json",
        "images.npy",
        "labels.npy",
        "source.json",
    ]


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


def test_digits_are_decoded_once(settings: Settings) -> None:
    catalog.load("digits", settings)
    before = array_versions(settings)
    catalog.load("digits", settings)
    assert array_versions(settings) == before
