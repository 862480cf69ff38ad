"""What no dataset can be made of is refused with its address, and nothing of it is cached."""

from hashlib import sha256
from pathlib import Path

import pytest

from shared.datasets import catalog
from shared.errors import DataCorrupt, DataUnavailable
from shared.settings import Settings
from tests.support.file_server import FileServer, Response
from tests.support.full_disk import files_limited_to
from tests.support.small_dataset import (
    IMAGES,
    ONE_HOT,
    PNG,
    assert_is_small,
    cache_entries,
    local_settings,
    with_checksums,
)
from tests.support.sprite_files import grey_png, make_images


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
