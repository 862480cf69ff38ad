"""Strips of images, and why there are none."""

from api.web.tabs import pictures
from shared.settings import Settings


def test_a_strip_names_its_images_in_order() -> None:
    strip = pictures.strip("digits", [3, 1, 2])

    assert strip.address == "/v1/datasets/digits/images?split=test&indices=3,1,2"
    assert strip.count == 3


def test_images_are_missing_until_a_worker_has_them(settings: Settings) -> None:
    assert pictures.missing("digits", settings) is None
    assert "not in the cache" in (pictures.missing("mnist", settings) or "")
    assert "no dataset" in (pictures.missing("gone", settings) or "")
