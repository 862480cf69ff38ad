"""What the environment lacks for a test: a person's run skips it, and CI's fails."""

import os
from typing import NoReturn

import pytest


def environment_lacks(reason: str) -> NoReturn:
    """Skip the test, or fail it where CI runs it; `reason` says what is missing, and how to get it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
