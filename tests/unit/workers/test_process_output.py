"""What a process prints becomes lines of its log, with the attempt that printed them."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
import structlog

from shared import log
from tests.support.waiting import wait_until
from workers import process_output
from workers.process_output import ProcessOutput

Lines = list[tuple[str, str, int | None]]


class _Recorded(logging.Handler):
    """Level, text and attempt of each line that the module logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: Lines = []

    def emit(self, record: logging.LogRecord) -> None:
        event = record.msg if isinstance(record.msg, dict) else {"event": record.getMessage()}
        attempt = structlog.contextvars.get_contextvars().get("attempt")
        self.lines.append((record.levelname, str(event["event"]), attempt))


@pytest.fixture
def logged() -> Iterator[Lines]:
    handler, logger = _Recorded(), logging.getLogger("workers.process_output")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler.lines
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "output"


@pytest.fixture
def output(file: Path) -> Iterator[ProcessOutput]:
    output = ProcessOutput(file)
    yield output
    output.close()


def write(file: Path, text: bytes) -> None:
    with file.open("ab") as appended:
        appended.write(text)


def test_lines_are_logged_once_and_when_they_are_finished(
    output: ProcessOutput, file: Path, logged: Lines
) -> None:
    write(file, b"first\nsecond half")
    output.collect()
    assert logged == [("INFO", "first", None)]
    write(file, b" is here\n\nlast\n")
    output.collect()
    output.collect()
    assert [text for _, text, _ in logged] == ["first", "second half is here", "last"]


def test_lines_are_logged_with_the_attempt_that_printed_them(
    output: ProcessOutput, file: Path, logged: Lines
) -> None:
    write(file, b"before, without an end")
    for attempt in (1, 2):
        with log.bound(job_id=str(uuid4()), attempt=attempt), output.of_attempt():
            write(file, b"of %d\nwithout an end" % attempt)
    write(file, b"after\n")
    output.collect()
    assert [(text, attempt) for _, text, attempt in logged] == [
        ("before, without an end", None),
        ("of 1", 1),
        ("without an end", 1),
        ("of 2", 2),
        ("without an end", 2),
        ("after", None),
    ]


def test_an_attempt_that_fails_has_its_output_too(output: ProcessOutput, file: Path, logged: Lines) -> None:
    def fail() -> None:
        with log.bound(attempt=1), output.of_attempt():
            write(file, b"why\n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert logged == [("INFO", "why", 1)]


@pytest.mark.parametrize(("has_gpu", "level"), [(True, "ERROR"), (False, "INFO")])
def test_that_cuda_finds_no_gpu_is_an_error_only_where_there_is_one(
    tmp_path: Path, logged: Lines, has_gpu: bool, level: str
) -> None:
    file = tmp_path / "other output"
    with closing(ProcessOutput(file, has_gpu=has_gpu)) as output:
        file.write_bytes(b"E0000 00:00:1764300000.1 7 cuda_platform.cc:52] failed call to cuInit: UNKNOWN\n")
        output.collect()
    assert [each for each, _, _ in logged] == [level]


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("W0000 00:00:1764300000.123456 77 cpu_allocator_impl.cc:84] Allocation exceeds 10%", "WARNING"),
        ("2026-11-28 10:00:00.000000: E tensorflow/core/x.cc:7] failed", "ERROR"),
        ("2026-11-28 10:00:00.000000: I external/local_xla/x.cc:7] Compiled cluster using XLA!", "INFO"),
        ("F0000 00:00:1764300000.123456 77 x.cc:1] Check failed", "CRITICAL"),
        ("E is a letter", "INFO"),
        ("WARNING: all is well", "INFO"),
    ],
)
def test_lines_of_tensorflow_keep_their_level(
    output: ProcessOutput, file: Path, logged: Lines, line: str, level: str
) -> None:
    write(file, line.encode() + b"\n")
    output.collect()
    assert logged == [(level, line, None)]


def test_a_progress_bar_is_logged_as_it_is_shown_last(
    output: ProcessOutput, file: Path, logged: Lines
) -> None:
    write(file, b"\r 1/10\r 2/10\r10/10\r\nbytes \xff\n")
    output.collect()
    assert [text for _, text, _ in logged] == ["10/10", "bytes \\xff"]


def test_an_attempt_keeps_a_limited_number_of_lines_and_says_so(
    output: ProcessOutput, file: Path, logged: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_output, "_MAX_LINES", 2)
    with log.bound(attempt=1), output.of_attempt():
        write(file, b"1\n2\n3\n4\n")
    assert logged == [
        ("INFO", "1", 1),
        ("INFO", "2", 1),
        ("WARNING", "further output of this attempt is in the worker's own log", 1),
        ("INFO", "3", None),
        ("INFO", "4", None),
    ]


def test_a_flood_is_cut_and_the_file_stays_small(
    output: ProcessOutput, file: Path, logged: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_output, "_MAX_BACKLOG_BYTES", 10)
    monkeypatch.setattr(process_output, "_MAX_FILE_BYTES", 50)
    write(file, b"x" * 95 + b"\n" + b"end\nhalf")
    output.collect()
    assert [text for _, text, _ in logged] == ["94 bytes of output were left out", "x", "end"]
    assert file.stat().st_size == 0
    write(file, b" a line\n")
    output.collect()
    assert logged[-1] == ("INFO", "half a line", None)


def test_between_attempts_the_file_is_empty(output: ProcessOutput, file: Path, logged: Lines) -> None:
    with log.bound(attempt=1), output.of_attempt():
        write(file, b"of 1\n")
    assert file.stat().st_size == 0
    assert len(logged) == 1


def test_a_thread_logs_what_is_printed_meanwhile(output: ProcessOutput, file: Path, logged: Lines) -> None:
    output.follow()
    with log.bound(attempt=1), output.of_attempt():
        write(file, b"now\n")
        wait_until(lambda: logged == [("INFO", "now", 1)], "the line is logged while the attempt runs")


PRINTS = """
import os, sys
from pathlib import Path
from shared import log
from workers.process_output import ProcessOutput

output = ProcessOutput(Path(sys.argv[1]))
log.configure("INFO", stream=output.redirect())
print("from Python")
os.write(2, b"from C\\n")
output.collect()
print("the end", end="", flush=True)
if sys.argv[2] == "crash":
    import ctypes
    ctypes.string_at(0)
"""


def run(file: Path, how: str) -> subprocess.CompletedProcess[str]:
    # the process inherits this one's settings of Python, but not what pytest makes of its warnings
    return subprocess.run(
        [sys.executable, "-c", PRINTS, str(file), how],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_all_that_a_process_prints_is_in_its_log(file: Path) -> None:
    ended = run(file, "end")
    assert [json.loads(line)["event"] for line in ended.stderr.splitlines()] == ["from Python", "from C"]
    assert (ended.returncode, ended.stdout) == (0, "")


def test_the_end_of_a_process_that_crashed_can_be_read(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(file, "crash").returncode < 0
    monkeypatch.setattr(process_output, "path", lambda _: file)
    adopted = process_output.adopt("any")
    assert adopted is not None
    with adopted:
        last = process_output.tail(adopted)
    assert last.startswith("from Python\nfrom C\nthe end")
    assert "Fatal Python error: Segmentation fault" in last
    assert 'File "<string>", line' in last
    assert list(tmp_path.iterdir()) == []
    assert process_output.adopt("any") is None


def test_a_tail_has_the_last_lines_only(file: Path) -> None:
    write(file, b"".join(b"line %d\n" % number for number in range(1, 10_000)))
    with file.open("rb", buffering=0) as opened:
        last = process_output.tail(opened).splitlines()
    assert last == [f"line {number}" for number in range(10_000 - len(last), 10_000)]
    assert 3_400 < sum(map(len, last)) + len(last) <= 3_500


@pytest.mark.usefixtures("output")
def test_a_file_belongs_to_one_process_and_one_user(file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        ProcessOutput(file)
    assert os.path.basename(process_output.path("abc-1")) == "trainshed-abc-1.output"
