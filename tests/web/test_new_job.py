"""The form for a new job: it says at once what is not possible, and shows commands that do the same."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from shared.db.engine import Database
from tests.support import queue_driver, stored
from tests.support.browsing import WatchedPages, violations
from tests.support.paths import ROOT
from tests.support.web_stack import WebStack


def test_the_commands_follow_what_one_types_and_errors_appear_beside_the_fields(page: Page) -> None:
    page.goto("/jobs/new")
    expect(page.locator("#command")).to_have_text("trainshed train")
    assert violations(page) == []
    page.get_by_label("Epochs").fill("20")
    page.get_by_label("Name").fill("mine")
    expect(page.locator("#command")).to_have_text("trainshed train --epochs 20 --name mine")
    expect(page.locator("#curl")).to_contain_text('"epochs": 20')
    expect(page.get_by_label("Name")).to_be_focused()
    page.get_by_label("Dataset").select_option("digits")
    expect(page.locator("#train_size-note")).to_have_text("1 to 1,400")
    page.get_by_label("Train size").press_sequentially("1401")
    expect(page.locator("#train_size-note")).to_contain_text("the dataset has 1,400 training images")
    expect(page.get_by_label("Train size")).to_have_attribute("aria-invalid", "true")
    assert violations(page) == []
    page.reload()
    expect(page.get_by_label("Train size")).to_have_value("1401")


def test_a_command_is_copied(pages: WatchedPages) -> None:
    page = pages.open(permissions=["clipboard-read", "clipboard-write"])
    page.goto("/jobs/new?epochs=3")
    page.locator("[data-copy=command]").click()

    expect(page.locator("[data-copy=command]")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "trainshed train --epochs 3"


@pytest.mark.parametrize("has_scripts", [True, False], ids=["with scripts", "without"])
def test_a_job_is_submitted_from_a_preset_and_cloned(
    pages: WatchedPages, database: Database, has_scripts: bool
) -> None:
    page = pages.open(java_script_enabled=has_scripts, allow=["422"])
    page.goto("/jobs")
    page.get_by_role("link", name="here").click()
    page.get_by_role("link", name="Smoke test").click()
    page.get_by_label("Tags").fill("a, b")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", name="smoke test")).to_be_visible()

    page.get_by_role("link", name="Clone").click()
    page.get_by_label("Evaluation size").fill("9999")
    page.get_by_label("Queue").fill("Not Possible")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#queue-note")).to_contain_text("Must have only lower-case letters")
    page.get_by_label("Queue").fill("slow")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("Place in the queue")).to_contain_text("slow")
    clone, first = stored.listed(database)
    assert clone.spec == first.spec.model_copy(update={"evaluation_size": 9_999})
    assert (clone.name, clone.tags, clone.queue) == ("smoke test", ("a", "b"), "slow")


def test_the_form_is_used_by_keyboard_alone(page: Page, database: Database) -> None:
    page.goto("/jobs/new")
    page.get_by_label("Dataset").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")  # the other model
    page.keyboard.press("Tab")
    page.keyboard.type("100")
    expect(page.locator("#command")).to_contain_text("--train-size 100")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/0*")
    [job] = stored.listed(database)
    assert job.spec.model_dump(include={"model", "train_size"}) == {"model": "dense", "train_size": 100}


def test_the_three_commands_submit_the_same_job(
    page: Page, stack: WebStack, database: Database, tmp_path: Path
) -> None:
    page.goto("/jobs/new?epochs=3&seed=1&learning_rate=0.003&name=it's%20mine&tags=a,b&model=dense")
    shown = {name: page.locator(f"#{name}").inner_text() for name in ("curl", "command", "python")}
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TRAINSHED_URL": stack.url,
        "TRAINSHED_DATA_DIR": str(tmp_path),
    }
    command = shown["command"].replace("trainshed", f"{sys.executable} -P -m trainshed.cli.main", 1)
    scripts = [f"{command} --detach", f'{sys.executable} -c "$PYTHON"']
    scripts += [shown["curl"]] if shutil.which("curl") else []
    for script in scripts:
        python = shown["python"].rpartition("\n")[0]  # without the wait: no worker runs
        subprocess.run(["bash", "-ec", script], env={**environment, "PYTHON": python}, check=True, timeout=60)

    submitted = stored.listed(database)
    assert len(submitted) == len(scripts)
    assert {(job.name, job.tags, job.spec.model_dump_json()) for job in submitted} == {
        ("it's mine", ("a", "b"), submitted[0].spec.model_dump_json())
    }


def test_an_evaluation_is_submitted_from_the_form(page: Page, database: Database) -> None:
    _, model = queue_driver.succeeded(database)
    page.goto("/jobs/new?kind=evaluate")
    assert violations(page) == []
    page.get_by_label("Model").fill(str(model.id))
    expect(page.locator("#command")).to_have_text(f"trainshed evaluate {model.id}")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/jobs/0*")
    assert stored.listed(database)[0].kind == "evaluate"
