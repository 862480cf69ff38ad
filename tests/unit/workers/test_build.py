"""The version and the commit of the Trainshed that runs."""

import json
import subprocess
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from workers import build

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def installed(folder: Path, **files: str) -> Distribution:
    """An installation whose metadata has these files."""
    metadata = folder / "trainshed-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: trainshed\nVersion: 0.1.0\n")
    for name, text in files.items():
        (metadata / name.replace("_json", ".json")).write_text(text)
    return Distribution.at(metadata)


def test_the_commit_that_an_image_was_built_from(tmp_path: Path) -> None:
    assert build.commit_of(installed(tmp_path, COMMIT=f"{COMMIT}\n")) == COMMIT


def test_the_commit_that_pip_has_installed(tmp_path: Path) -> None:
    origin = {"url": "https://git.example/trainshed", "vcs_info": {"vcs": "git", "commit_id": COMMIT}}
    assert build.commit_of(installed(tmp_path, direct_url_json=json.dumps(origin))) == COMMIT


@pytest.mark.slow
def test_the_commit_of_a_checkout_and_whether_it_was_changed(tmp_path: Path) -> None:
    checkout = tmp_path / "a checkout"
    checkout.mkdir()

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        command = ["git", "-C", str(checkout), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    (checkout / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "first")
    origin = {"url": checkout.as_uri(), "dir_info": {"editable": True}}
    distribution = installed(tmp_path, direct_url_json=json.dumps(origin))
    commit = git("rev-parse", "HEAD")
    assert build.commit_of(distribution) == commit
    (checkout / "file").write_text("2")
    assert build.commit_of(distribution) == f"{commit}-dirty"


def test_no_commit_is_known_of_a_wheel_or_without_a_repository(tmp_path: Path) -> None:
    (tmp_path / "wheel").mkdir()
    (tmp_path / "folder").mkdir()
    assert build.commit_of(installed(tmp_path / "wheel")) == ""
    origin = {"url": (tmp_path / "nowhere").as_uri(), "dir_info": {"editable": True}}
    assert build.commit_of(installed(tmp_path / "folder", direct_url_json=json.dumps(origin))) == ""


def test_the_version_is_always_known() -> None:
    assert build.versions()["trainshed"]
    assert set(build.versions()) <= {"trainshed", "commit"}
