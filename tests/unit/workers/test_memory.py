"""The memory of processes, compared with what psutil says."""

import os

import psutil
import pytest

from workers.memory import resident_bytes

NO_PROCESS = 2**22 + 1  # more than the greatest process id


def test_it_is_that_of_all_processes_that_exist() -> None:
    expected = psutil.Process().memory_info().rss
    assert resident_bytes([os.getpid(), NO_PROCESS]) == pytest.approx(expected, rel=0.05)
    assert resident_bytes([os.getpid(), os.getpid()]) == pytest.approx(2 * expected, rel=0.05)


def test_it_is_unknown_of_none() -> None:
    assert resident_bytes([NO_PROCESS]) is None
