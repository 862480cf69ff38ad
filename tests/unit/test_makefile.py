"""Where the set-up of a checkout cannot go on, one sentence says what to install."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow  # they start programs

NO_PYTHON = (
    "Trainshed needs Python 3.11, 3.12, 3.13 or 3.14 with its module ensurepip: install one (on Debian and "
    "Ubuntu: apt-get install python3-venv), or choose one with PYTHON=..."
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder with make, a shell and the few of coreutils that the set-up may use: the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("make", "sh", "touch", "df", "tail"):
        found = shutil.which(name)
        assert found, f"this test needs {name}"
        (folder / name).symlink_to(found)
    return folder


def add_python(path: Path, name: str, command: str) -> None:
    """Add a Python that runs `command` with the arguments that it is given."""
    (path / name).write_text(f'#!/bin/sh\n{command} "$@"\n')
    (path / name).chmod(0o755)


def make(path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`make demo` in a folder with what the set-up reads of a checkout."""
    checkout = path.parent / "checkout"
    checkout.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, checkout)
    command = ["make", "-C", str(checkout), "--no-print-directory", "demo", *arguments]
    return subprocess.run(command, env={"PATH": str(path), **variables}, capture_output=True, text=True)


def test_without_any_python_one_is_asked_for(path: Path) -> None:
    first, *_ = make(path).stderr.splitlines()
    assert first == NO_PYTHON


def test_debians_python_without_its_package_for_environments_is_not_used(path: Path) -> None:
    modules = path.parent / "modules"
    modules.mkdir()
    (modules / "ensurepip.py").write_text("raise ImportError('No module named ensurepip')")
    for name in ("python3", "python3.13"):
        add_python(path, name, f"PYTHONPATH={modules} exec {sys.executable}")
    for arguments in ((), ("PYTHON=python3.13",)):
        result = make(path, *arguments)
        shutil.rmtree(path.parent / "checkout")
        assert (result.stdout, result.stderr.splitlines()[0]) == ("", NO_PYTHON)
        assert result.returncode == 2


def test_a_python_that_is_too_old_or_too_new_is_passed_over(path: Path) -> None:
    for name, version in (("python3", "3, 15"), ("python3.13", "3, 10")):
        code = f"import sys; sys.version_info = ({version}, 0); exec(sys.argv[2])"
        add_python(path, name, f"exec {sys.executable} -c '{code}'")
    add_python(path, "python3.11", f"echo used >&2; exec {sys.executable}")
    result = make(path, PIP_NO_INDEX="1")
    assert NO_PYTHON not in result.stderr
    assert f"Setting up .venv with Python {sys.version.split()[0]}" in result.stderr


def test_where_pip_fails_the_last_sentence_says_that_nothing_else_did(path: Path) -> None:
    add_python(path, "python3", f"exec {sys.executable}")
    result = make(path, PIP_NO_INDEX="1")
    *pips, sentence, _ = result.stderr.splitlines()
    assert any(line.lstrip().lower().startswith("error: ") for line in pips)
    assert sentence == (
        "The packages could not be installed into .venv: see above what is missing, and run make again"
    )
    assert not (path.parent / "checkout" / ".venv" / "installed").exists()
