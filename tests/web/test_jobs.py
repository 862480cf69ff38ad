"""The list of jobs: rows that stay where they are, jobs that wait to be shown, actions on several at once."""

from playwright.sync_api import Locator, Page, expect

from bench.many_jobs import store_jobs
from shared.db.engine import Database
from shared.lifecycle import JobState
from shared.schemas import JobListQuery, Scope
from tests.support import factories, queue_driver, registry, stored
from tests.support.browsing import WatchedPages, Weight, is_live, sign_in, violations
from tests.support.waiting import wait_until


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


def names(page: Page) -> list[str]:
    return page.locator("#jobs .name").all_inner_texts()


def select(page: Page, *selected: str) -> None:
    for name in selected:
        page.get_by_role("checkbox", name=f"Select {name}", exact=True).check()


def test_rows_change_in_place_and_new_jobs_wait_behind_a_button(page: Page, database: Database) -> None:
    attempt = queue_driver.running(database, name="running")
    queue_driver.submit(database, name="waiting")
    page.goto("/jobs?kind=train")
    is_live(page)
    top = page.locator("table").bounding_box()
    for name in ("third", "fourth"):
        queue_driver.submit(database, name=name)
    queue_driver.record(database, attempt, 2)

    button = page.get_by_role("button", name="2 new jobs")
    expect(button).to_be_visible()
    expect(row(page, "running")).to_contain_text("2/3")
    assert names(page) == ["waiting", "running"]
    assert page.locator("table").bounding_box() == top  # nothing has moved
    expect(page.locator(".chips")).to_contain_text("All 4")
    assert violations(page) == []
    button.click()
    expect(row(page, "fourth")).to_be_visible()
    assert names(page) == ["fourth", "third", "waiting", "running"]
    expect(button).to_be_hidden()
    expect(row(page, "fourth").get_by_role("link")).to_be_focused()


def test_jobs_are_announced_only_if_they_match_the_filters(page: Page, database: Database) -> None:
    queue_driver.submit(database, name="a wide one")
    page.goto("/jobs?q=wide&state=queued")
    is_live(page)
    queue_driver.submit(database, name="narrow")
    queue_driver.submit(database, name="another wide one")

    expect(page.get_by_role("button", name="1 new job", exact=True)).to_be_visible()


def test_selected_jobs_are_cancelled_after_a_dialog_that_counts(page: Page, database: Database) -> None:
    queued = [queue_driver.submit(database, name=f"queued {number}") for number in range(2)]
    queue_driver.failed(database, name="failed")
    page.goto("/jobs")
    select(page, "queued 0", "queued 1", "failed")
    page.get_by_role("toolbar").get_by_role("button", name="Cancel").click()

    dialog = page.get_by_role("dialog", name="Cancel 2 jobs?")
    expect(dialog).to_contain_text("2 queued")
    expect(dialog).to_contain_text("1 of the 3 selected has already finished")
    assert violations(page) == []
    dialog.get_by_role("button", name="Not now").click()
    assert stored.state(database, queued[0]) is JobState.QUEUED
    page.get_by_role("toolbar").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel 2 jobs").click()
    results = page.get_by_role("dialog", name="Cancelled: 2 jobs")
    expect(results.get_by_role("row")).to_have_count(2)
    expect(results.get_by_role("row").first).to_contain_text("✓ Cancelled")
    assert [stored.state(database, job_id) for job_id in queued] == [JobState.CANCELLED] * 2


def test_each_refused_job_says_why_in_its_row(page: Page, database: Database) -> None:
    job_id, model = queue_driver.succeeded(database, name="evaluated")
    queue_driver.failed(database, name="failed")
    evaluation = factories.make_evaluate_spec(model.id)
    queue_driver.submit(database, kind="evaluate", spec=evaluation, model_id=model.id, name="its evaluation")
    page.goto("/jobs")
    select(page, "evaluated", "failed")
    page.get_by_role("toolbar").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog")).to_contain_text("cannot be undone")
    page.get_by_role("button", name="Delete 2 jobs").click()

    dialog = page.get_by_role("dialog", name="Deleted: 1 job, 1 not")
    expect(dialog.get_by_role("row").filter(has_text="evaluated")).to_contain_text("✗")
    assert violations(page) == []
    dialog.get_by_role("button", name="Close").click()
    expect(row(page, "failed")).to_have_count(0)
    assert stored.state(database, job_id) is JobState.SUCCEEDED


def test_the_list_is_used_by_keyboard_alone(page: Page, database: Database) -> None:
    for number in range(4):
        queue_driver.failed(database, name=f"job {number}")
    page.goto("/jobs")
    row(page, "job 3").get_by_role("link").focus()
    page.keyboard.press("x")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("j")
    expect(row(page, "job 1").get_by_role("link")).to_be_focused()
    expect(page.locator("#selected")).to_have_text("2 selected")
    page.keyboard.press("Control+a")
    expect(page.locator("#selected")).to_have_text("4 selected")
    page.keyboard.press("Escape")
    expect(page.locator("#bulk")).not_to_be_visible()
    page.keyboard.press("x")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.action") == "retry":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Retry 1 job?")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Submitted again: 1 job")).to_be_visible()
    page.keyboard.press("Escape")
    expect(row(page, "job 1")).to_have_count(2)


def test_a_range_is_selected_with_shift(page: Page, database: Database) -> None:
    for number in range(4):
        queue_driver.submit(database, name=f"job {number}")
    page.goto("/jobs")
    page.get_by_role("checkbox", name="Select job 3").click()
    page.get_by_role("checkbox", name="Select job 1").click(modifiers=["Shift"])
    expect(page.locator("#selected")).to_have_text("3 selected")
    page.get_by_role("checkbox", name="Select all on this page").click()
    expect(page.locator("#selected")).to_have_text("4 selected")


def test_all_jobs_that_match_the_filters_are_selected_and_cancelled(page: Page, database: Database) -> None:
    for number in range(5):
        queue_driver.submit(database, name=f"job {number}")
    queue_driver.submit(database, name="other")
    queue_driver.cancelled(database, name="job that ended")
    page.goto("/jobs?q=job&limit=2")
    every = page.get_by_role("button", name="Select all that match")
    page.get_by_role("checkbox", name="Select job 4").check()
    expect(every).to_be_hidden()
    page.get_by_role("checkbox", name="Select all on this page").check()
    every.press("Enter")
    expect(page.locator("#selected")).to_have_text("6 selected")

    page.get_by_role("button", name="Cancel", exact=True).click()
    dialog = page.get_by_role("dialog", name="Cancel 5 jobs?")
    expect(dialog).to_contain_text("1 of the 6 selected has already finished")
    dialog.get_by_role("button", name="Cancel 5 jobs").click()
    dialog = page.get_by_role("dialog", name="Cancelled: 5 jobs")
    expect(dialog.get_by_role("row")).to_have_count(5)
    dialog.get_by_role("button", name="Close").click()
    expect(page.locator("#selected")).to_have_text("2 selected")
    queued = JobListQuery(state=(JobState.QUEUED,))
    assert [job.name for job in stored.listed(database, queued)] == ["other"]


def test_a_long_list_weighs_less_than_60_kb(page: Page, database: Database) -> None:
    store_jobs(database, 200)
    weight = Weight(page)
    page.goto("/jobs?limit=200")
    is_live(page)
    expect(page.locator("#jobs tbody tr")).to_have_count(200)
    size, requests = weight.take()
    assert requests > 5
    assert size < 60_000


def test_of_a_selection_only_ones_own_jobs_are_cancelled_and_others_are_counted(
    pages: WatchedPages, database: Database
) -> None:
    keys = {name: registry.api_key(database, name, Scope.SUBMIT) for name in ("Ann", "Eve")}
    for name, key in keys.items():
        queue_driver.submit(database, name=name, key_id=key.id)
    page = pages.open()

    def asks_for_a_key() -> bool:
        page.goto("/sign-in")
        return page.get_by_label("API key").count() > 0

    wait_until(asks_for_a_key, "the API remembers for a second that there are no keys")
    sign_in(page, str(keys["Ann"]))
    page.goto("/jobs")
    bulk = page.locator("#bulk")
    page.get_by_label("Select Eve").check()
    expect(bulk.get_by_role("button", name="Retry")).to_be_visible()
    expect(bulk.get_by_role("button", name="Cancel")).to_be_hidden()
    page.get_by_label("Select Ann").check()
    bulk.get_by_role("button", name="Cancel").click()
    dialog = page.locator("#bulk-dialog")
    expect(dialog).to_contain_text("1 of the 2 selected belongs to others, and stays.")
    dialog.get_by_role("button", name="Cancel 1 job").click()
    expect(dialog).to_contain_text("Cancelled: 1 job")
    states = {job.name: job.state for job in stored.listed(database)}
    assert states == {"Ann": "cancelled", "Eve": "queued"}
