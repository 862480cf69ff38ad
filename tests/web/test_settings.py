"""The settings: a key is created, copied, used and revoked; the theme and what runs here."""

import re

from playwright.sync_api import expect

from shared.schemas import Scope
from tests.support.browsing import WatchedPages, sign_in, violations
from tests.support.web_stack import WebStack
from tests.web.conftest import ADMIN_KEY


def test_a_key_is_shown_once_copied_used_and_revoked(guarded_pages: WatchedPages) -> None:
    page = guarded_pages.open(permissions=["clipboard-read", "clipboard-write"])
    page.goto("/settings")
    sign_in(page, ADMIN_KEY)
    page.get_by_label("Name of the person").fill("<b>Ada</b>")
    page.get_by_label("Scope").select_option("submit")
    page.get_by_role("button", name="Create key").click()

    key = page.locator("#new-key").inner_text()
    expect(page.get_by_text(f"export TRAINSHED_API_KEY={key}", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Copy")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == key
    assert violations(page) == []

    other = guarded_pages.open()
    other.goto("/settings")
    sign_in(other, key)
    expect(other.get_by_text("Administrators create and revoke keys")).to_be_visible()
    assert violations(other) == []

    page.goto("/settings")
    assert key not in page.content()
    row = page.get_by_role("row").filter(has_text="<b>Ada</b>")
    row.get_by_role("button", name="Revoke", exact=False).first.press("Enter")
    row.get_by_role("button", name="Revoke for good").press("Enter")
    expect(row).to_contain_text("Revoked")
    other.reload()
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_keys_weight_is_changed_by_keyboard(guarded_pages: WatchedPages, guarded: WebStack) -> None:
    page = guarded_pages.open()
    page.goto("/settings")
    sign_in(page, guarded.new_key(Scope.ADMIN))
    row = page.get_by_role("row").filter(has_text="yours")
    expect(row).to_contain_text("no limit")
    row.locator("summary", has_text="Change").press("Enter")
    assert violations(page) == []
    row.get_by_label("Weight").fill("2.5")
    row.get_by_label("Running at most").fill("4")
    page.keyboard.press("Enter")
    expect(row.get_by_role("cell", name="2.5", exact=True)).to_be_visible()
    expect(row.get_by_role("cell", name="4", exact=True)).to_be_visible()


def test_a_mistake_is_explained_beside_what_was_typed(guarded_pages: WatchedPages, guarded: WebStack) -> None:
    page = guarded_pages.open(allow=["422"])
    page.goto("/settings")
    sign_in(page, guarded.new_key(Scope.ADMIN))
    page.get_by_label("Name of the person").fill(" ")
    page.get_by_label("Scope").select_option("admin")
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_label("Name of the person")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#name-error")).to_be_visible()
    expect(page.get_by_label("Scope")).to_have_value("admin")


def test_an_open_system_says_so_and_the_theme_is_chosen_here_too(pages: WatchedPages) -> None:
    page = pages.open(color_scheme="light")
    page.goto("/settings")
    expect(page.get_by_text("No key exists")).to_be_visible()
    page.locator(".themes.wide").get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_role("button", name="Dark theme")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_text("ONNX Runtime")).to_be_visible()
    for name in ("Documentation", "Metrics", "Readiness"):
        expect(page.get_by_role("main").get_by_role("link", name=re.compile(name))).to_be_visible()
    assert violations(page) == []
