"""What Celery says when it stops is a line of the log, and contradicts nothing that is promised."""

import json

import pytest
from celery.apps import worker as celery_worker

from workers import notices


@pytest.mark.parametrize(
    ("celerys", "ours"),
    [
        ("worker: Warm shutdown (MainProcess)", "stopping: jobs that run return to their queues"),
        ("worker: Cold shutdown (MainProcess)", "stopping at once: jobs that still run resume"),
        ("something else", "something else"),
    ],
)
def test_a_message_of_celerys_is_a_line_of_the_log(
    capfd: pytest.CaptureFixture[str], celerys: str, ours: str
) -> None:
    notices.say(celerys)
    line = json.loads(capfd.readouterr().err)
    assert line["event"].startswith(ours)
    assert set(line) == {"event", "level", "logger", "timestamp"}


def test_that_ctrl_c_ends_running_tasks_is_not_said(capfd: pytest.CaptureFixture[str]) -> None:
    notices.say("worker: Hitting Ctrl+C again will initiate cold shutdown, terminating all running tasks!")
    assert capfd.readouterr() == ("", "")


def test_celery_says_it_in_our_words(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = vars(celery_worker)
    monkeypatch.setitem(functions, "safe_say", functions["safe_say"])
    notices.install()
    assert functions["safe_say"] is notices.say
