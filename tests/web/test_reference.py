"""The API reference, `/docs`: accessible in both themes, and no window is too narrow for it."""

import pytest
from playwright.sync_api import Page, expect

from tests.support.browsing import violations

WIDTHS = (320, 390, 1440, 3840)


def open_whole(page: Page) -> None:
    page.goto("/docs")
    page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true })")


# a minute of computing, on the longest page; others may use the processors meanwhile
@pytest.mark.timeout(300)
def test_the_reference_is_accessible(page: Page) -> None:
    open_whole(page)
    assert violations(page) == []


def test_the_reference_fits_every_window(page: Page) -> None:
    open_whole(page)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        root = "document.documentElement"
        assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0, width


@pytest.mark.parametrize("width", [390, 1440])
def test_the_contents_lead_to_an_operation(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto("/docs")
    name = "GET /v1/jobs/{job_id}/metrics" if width > 1000 else "metrics"
    page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
    heading = page.get_by_role("heading", name="GET /v1/jobs/{job_id}/metrics", exact=True)
    expect(heading).to_be_in_viewport()
