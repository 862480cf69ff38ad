"""Runs git on the checkout, whoever owns it: CI's may belong to another user."""

import os
import subprocess
from pathlib import Path
from tempfile import NamedTemporaryFile


def git(*arguments: str | Path, patch: bytes = b"") -> bytes:
    """Run git; return what it prints.

    Raises:
        OSError, subprocess.CalledProcessError: it is not installed, or failed.
    """
    with NamedTemporaryFile("w", suffix=".gitconfig") as config:
        config.write("[safe]\n\tdirectory = *\n")
        config.flush()
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": config.name}
        return subprocess.run(
            ["git", *arguments], env=environment, input=patch, stdout=subprocess.PIPE, check=True
        ).stdout
