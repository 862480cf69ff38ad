"""Each line of the log is a JSON object with the bound context, and without secrets."""

import json
import logging
import warnings
from contextvars import copy_context
from io import StringIO

import pytest

from shared import log
from shared.store import webhooks
from shared.store.api_keys import NewApiKey

pytestmark = pytest.mark.usefixtures("logging_restored")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_contains_the_bound_context(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO")
    with log.bound(job_id="7", attempt=2):
        log.get_logger("here").info("attempt started", device="CPU")
    [line] = lines(capsys)
    assert line["event"] == "attempt started"
    assert (line["job_id"], line["attempt"], line["device"], line["logger"]) == ("7", 2, "CPU", "here")


def test_lines_of_libraries_are_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("WARNING")
    logging.getLogger("some.library").warning("it is %s", "late")
    logging.getLogger("some.library").info("not important enough")
    [line] = lines(capsys)
    assert (line["event"], line["logger"], line["level"]) == ("it is late", "some.library", "warning")


def test_warnings_are_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO")
    warnings.showwarning("it is old", UserWarning, "file.py", 7)
    [line] = lines(capsys)
    assert (line["logger"], line["level"]) == ("py.warnings", "warning")
    assert "file.py:7: UserWarning: it is old" in str(line["event"])


def test_lines_are_written_to_the_stream_that_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    stream = StringIO()
    log.configure("INFO", stream=stream)
    log.get_logger("here").info("elsewhere")
    assert json.loads(stream.getvalue())["event"] == "elsewhere"
    assert lines(capsys) == []


def test_a_line_contains_the_exception_that_was_logged(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO")
    try:
        raise ValueError("nonsense")
    except ValueError:
        log.get_logger("here").exception("it failed")
    [line] = lines(capsys)
    assert "ValueError: nonsense" in str(line["exception"])


def test_secrets_are_replaced_by_stars_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO", secrets=["hunter2", "hunter2 and more", ""])
    logging.getLogger("some.library").warning("connecting to %s", "redis://:hunter2@host")
    log.get_logger("here").info("hunter2 and more", why={"password": "hunter2"})
    first, second = lines(capsys)
    assert first["event"] == "connecting to redis://:***@host"
    assert (second["event"], second["why"]) == ("***", {"password": "***"})


def test_the_secret_of_any_api_key_and_webhook_is_replaced_by_stars() -> None:
    key = NewApiKey.draw()
    assert log.hide(f"Bearer {key}!") == f"Bearer ts_{key.id.hex}_***!"
    assert log.hide(f"{webhooks.draw_secret()}!") == "***!"


def test_the_id_of_the_request_that_is_handled_is_known_and_in_each_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure("INFO")

    def handle() -> str | None:
        log.handling_request("trace-7")
        logging.getLogger("some.library").info("within")
        return log.request_id()

    assert log.request_id() is None
    assert copy_context().run(handle) == "trace-7"
    log.get_logger("here").info("after")
    within, after = lines(capsys)
    assert within["request_id"] == "trace-7"
    assert "request_id" not in after


def test_further_fields_are_in_each_line_where_it_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO")
    log.add_fields(lambda: {"trace_id": "abc"})
    log.get_logger("here").info("own")
    logging.getLogger("some.library").info("theirs")
    log.add_fields(None)
    log.get_logger("here").info("after")
    assert [line.get("trace_id") for line in lines(capsys)] == ["abc", "abc", None]
