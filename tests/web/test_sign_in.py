"""Signing in with a key of each scope: what it may not do is not offered, and what it may is live."""

import pytest
from playwright.sync_api import expect

from shared.schemas import Scope
from tests.support import queue_driver
from tests.support.browsing import WatchedPages, is_live, sign_in, violations
from tests.support.web_stack import WebStack


@pytest.mark.parametrize("scope", list(Scope))
def test_a_key_of_each_scope_signs_in_and_is_offered_what_it_may_do(
    guarded_pages: WatchedPages, guarded: WebStack, scope: Scope
) -> None:
    job_id, page = queue_driver.submit(guarded.database), guarded_pages.open()
    page.goto(f"/jobs/{job_id}?tab=config")
    assert violations(page) == []
    sign_in(page, guarded.new_key(scope))

    expect(page).to_have_url(f"{guarded.url}/jobs/{job_id}?tab=config")
    is_live(page)
    offered = int(scope.includes(Scope.SUBMIT))
    expect(page.get_by_role("link", name="Clone")).to_have_count(offered)
    # the job is nobody's, so that only administrators change it
    expect(page.get_by_role("button", name="Edit")).to_have_count(int(scope is Scope.ADMIN))
    page.get_by_role("button", name="Sign out").click()
    page.goto("/jobs")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_wrong_key_is_refused_with_a_reason(guarded_pages: WatchedPages) -> None:
    page = guarded_pages.open(allow=["401"])
    page.goto("/sign-in")
    sign_in(page, "ts_wrong_key")

    expect(page.get_by_text("unknown, revoked or expired")).to_be_visible()
    assert violations(page) == []
    assert page.context.cookies() == []


def test_the_key_is_in_a_cookie_that_no_script_and_no_other_site_gets(
    guarded_pages: WatchedPages, guarded: WebStack
) -> None:
    page = guarded_pages.open()
    page.goto("/")
    sign_in(page, guarded.new_key(Scope.READ))
    page.get_by_role("heading", name="Overview").wait_for(state="attached")

    [cookie] = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Strict", False)
    assert page.evaluate("document.cookie") == ""


def test_who_is_signed_out_meanwhile_is_told(guarded_pages: WatchedPages, guarded: WebStack) -> None:
    page = guarded_pages.open(allow=["401"])
    page.goto("/")
    sign_in(page, guarded.new_key(Scope.READ))
    is_live(page)
    page.context.clear_cookies()
    page.locator("#live").click()
    page.locator("#live").click()
    expect(page.get_by_role("status")).to_have_text("Signed out")
