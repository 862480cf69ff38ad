"""A page is tried in a clone that has its own code and needs no installation, with some copy of MNIST."""

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest
from PIL import Image

from tests.docs import checkout
from tests.docs.checkout import NoSprite, make_clone, new_environment

URLS = ("TRAINSHED_MNIST_IMAGES_URL", "TRAINSHED_MNIST_LABELS_URL")


@pytest.fixture
def _no_sprite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "MNIST", tmp_path / "none")
    monkeypatch.delenv("CI", raising=False)


def test_a_clone_runs_its_own_code_and_make_installs_nothing(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    script = "import trainshed, fastapi; print(trainshed.__file__)"
    imported = subprocess.run([".venv/bin/python", "-c", script], cwd=clone, check=True, capture_output=True)
    assert imported.stdout.decode().startswith(str(clone))
    assert subprocess.run(["make", "-q", ".venv/installed"], cwd=clone).returncode == 0
    help_text = subprocess.run([".venv/bin/trainshed", "--help"], cwd=clone, check=True, capture_output=True)
    assert b"demo" in help_text.stdout


def test_a_reader_has_no_settings_but_the_sprite_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in URLS:
        monkeypatch.setenv(name, "file:///copy")
    monkeypatch.setenv("TRAINSHED_LEASE_S", "3")
    monkeypatch.setenv("PATH", os.pathsep.join([sysconfig.get_path("scripts"), "/usr/bin"]))
    environment = new_environment(tmp_path, 8123)
    ours = {name for name in environment if name.startswith("TRAINSHED_")}
    assert ours == {"TRAINSHED_PORT", *URLS}
    assert environment["PATH"] == "/usr/bin"


@pytest.mark.usefixtures("_no_sprite")
def test_without_a_sprite_scikit_learn_s_digits_take_its_place(tmp_path: Path) -> None:
    new_environment(tmp_path, 8123)
    with Image.open(tmp_path / "mnist_images.png") as images:
        assert images.size == (784, 65_000)
    assert (tmp_path / "mnist_labels_uint8").stat().st_size == 650_000


@pytest.mark.usefixtures("_no_sprite")
def test_without_a_sprite_ci_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(NoSprite, match="TRAINSHED_MNIST_IMAGES_URL"):
        new_environment(tmp_path, 8123)
