"""A dataset that can be neither downloaded nor read from the cache is named."""

import gzip
from pathlib import Path

import pytest

from shared.datasets import catalog
from shared.settings import Settings
from tests.support.file_server import FileServer, Response
from tests.support.ports import closed_port
from tests.support.small_dataset import IMAGES, ONE_HOT, PNG, cache_folder, local_settings, small_settings
from tests.support.sprite_files import grey_png
from tests.unit.trainshed.doctor.conftest import Found
from trainshed.doctor import datasets


def of_small(settings: Settings, found: Found) -> list[tuple[str, str, str]]:
    """The findings about `small`, and not those about `mnist`."""
    mnist = settings.model_copy(
        update={
            "mnist_images_url": settings.datasets["small"].images_url,
            "mnist_labels_url": settings.datasets["small"].labels_url,
        }
    )
    return [each for each in found(datasets.check, mnist) if "TRAINSHED_MNIST" not in each[2]][-1:]


def test_files_that_are_there(found: Found, tmp_path: Path) -> None:
    [(severity, message, _)] = of_small(local_settings(tmp_path), found)
    assert (severity, message) == ("ok", "it is not in the cache yet, and can be downloaded")


def test_a_whole_cache_entry_and_a_damaged_one(found: Found, tmp_path: Path) -> None:
    settings = local_settings(tmp_path)
    catalog.load("small", settings)
    assert of_small(settings, found) == [("ok", "it is in the cache, and its checksums are right", "")]
    for name in ("images", "labels"):
        (tmp_path / name).unlink()
    assert of_small(settings, found) == [("ok", "it is in the cache, and its checksums are right", "")]
    images = cache_folder(settings) / "images.npy"
    content = bytearray(images.read_bytes())
    content[-1] ^= 1
    images.write_bytes(content)
    [(severity, message, _)] = of_small(settings, found)
    assert (severity, message) == ("error", f"there is no file {tmp_path / 'labels'}")


def test_a_file_that_is_not_there_is_named_with_what_to_do(settings: Settings, found: Found) -> None:
    missing = settings.model_copy(
        update={"mnist_images_url": "file:///no/images", "mnist_labels_url": "file:///no/labels"}
    )
    findings = found(datasets.check, missing)
    assert [message for _, message, _ in findings] == [
        "there is no file /no/images",
        "there is no file /no/labels",
    ]
    assert "TRAINSHED_MNIST_IMAGES_URL" in findings[0][2]
    assert "--dataset digits" in findings[0][2]


def test_a_server_is_asked(found: Found, tmp_path: Path) -> None:
    with FileServer() as server, closed_port() as port:
        images, labels = server.serve("/images", Response(PNG)), server.serve("/labels", Response(ONE_HOT))
        [(severity, _, _)] = of_small(small_settings(tmp_path, images, labels), found)
        assert severity == "ok"
        gone = server.serve("/gone", Response(status=404))
        [(_, message, _)] = of_small(small_settings(tmp_path, images, gone), found)
        assert message == f"{gone} answers 404"
        away = f"http://someone:hunter2@127.0.0.1:{port}/labels"
        [(severity, message, _)] = of_small(small_settings(tmp_path, images, away), found)
        assert severity == "error"
        assert message.startswith(f"http://127.0.0.1:{port}/labels cannot be reached: ")


@pytest.mark.parametrize(
    ("images", "labels", "wrong"),
    [
        (grey_png(IMAGES[:, :700]), ONE_HOT, "700 columns and 12 rows"),
        (grey_png(IMAGES[:-1]), ONE_HOT, "784 columns and 11 rows"),
        (b"<html>not found</html>", ONE_HOT, "an HTML page"),
        (PNG[:20], ONE_HOT, "found"),
        (PNG, ONE_HOT[:-1], "119 bytes"),
        (PNG, b"", "0 bytes"),
    ],
)
def test_files_on_which_every_job_would_fail(
    found: Found, tmp_path: Path, images: bytes, labels: bytes, wrong: str
) -> None:
    settings = local_settings(tmp_path)
    (tmp_path / "images").write_bytes(images)
    (tmp_path / "labels").write_bytes(labels)
    with FileServer() as server:
        urls = server.serve("/images", Response(images)), server.serve("/labels", Response(labels))
        for each in (settings, small_settings(tmp_path / "data", *urls)):
            [(severity, message, _)] = of_small(each, found)
            assert severity == "error"
            assert message.startswith("every job on it would fail: ")
            assert wrong in message


def test_the_size_of_labels_that_the_server_does_not_tell_is_not_judged(found: Found, tmp_path: Path) -> None:
    with FileServer() as server:
        images = server.serve("/images", Response(PNG))
        labels = server.serve(
            "/labels", Response(gzip.compress(ONE_HOT), headers={"Content-Encoding": "gzip"})
        )
        [(severity, _, _)] = of_small(small_settings(tmp_path, images, labels), found)
        assert severity == "ok"


@pytest.mark.parametrize("changed", ["images", "labels"])
def test_data_that_has_changed_since_it_was_cached(found: Found, tmp_path: Path, changed: str) -> None:
    settings = local_settings(tmp_path)
    catalog.load("small", settings)
    content = {"images": grey_png(IMAGES[::-1]), "labels": ONE_HOT[10:] + ONE_HOT[:10]}
    (tmp_path / changed).write_bytes(content[changed])
    [(severity, message, advice)] = of_small(settings, found)
    assert severity == "warning"
    assert message.startswith(f"the cache has other data than is now at {(tmp_path / changed).as_uri()}: ")
    assert str(cache_folder(settings)) in advice


def test_a_server_is_asked_whether_the_data_has_changed(found: Found, tmp_path: Path) -> None:
    with FileServer() as server:
        images, labels = server.serve("/images", Response(PNG)), server.serve("/labels", Response(ONE_HOT))
        settings = small_settings(tmp_path, images, labels)
        catalog.load("small", settings)
        assert [severity for severity, _, _ in of_small(settings, found)] == ["ok"]
        server.serve("/images", Response(PNG + b"more"))
        assert [severity for severity, _, _ in of_small(settings, found)] == ["warning"]


def test_a_cache_entry_of_an_earlier_version_is_not_compared(found: Found, tmp_path: Path) -> None:
    settings = local_settings(tmp_path)
    catalog.load("small", settings)
    (cache_folder(settings) / "source.json").unlink()
    (tmp_path / "labels").write_bytes(b"other")
    assert [severity for severity, _, _ in of_small(settings, found)] == ["ok"]
