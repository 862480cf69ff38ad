"""The distribution: what a base installation can do, and what it says of the rest."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from uuid import UUID

import pytest

import trainshed
from tests.support.base_install import make_base_install
from tests.support.drawings import STROKES, draw
from tests.support.paths import ROOT
from trainshed import Client
from trainshed.local.extras import PACKAGES

# one process runs them all: Python starts once
RUN_COMMANDS = """
import json, sys
from trainshed.cli.main import app

for arguments in json.loads(sys.argv[1]):
    try:
        code = app(arguments, standalone_mode=False)
    except SystemExit as end:
        code = end.code
    print("ended:", *arguments[:1], code or 0, flush=True)
"""


def python(base: Path, *arguments: str, url: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python with a base installation only."""
    environment = {
        "PYTHONPATH": str(base),
        "TRAINSHED_URL": url,
        "TRAINSHED_DATA_DIR": str(base),
        "COLUMNS": "200",
    }
    command = [sys.executable, "-S", *arguments]
    return subprocess.run(command, env=environment, cwd=base, capture_output=True, text=True, timeout=60)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_base_install(tmp_path)


@pytest.mark.slow
def test_the_clients_commands_run_on_a_base_installation(base: Path, server: Client, model_id: UUID) -> None:
    draw(STROKES[3]).save(base / "digit.png")
    commands = [
        *(["--help"], ["status"], ["jobs"], ["train", "--detach"], ["evaluate", str(model_id), "--detach"]),
        *(["show", "last"], ["events", "last"], ["metrics", "last"], ["logs", "last"], ["cancel", "last"]),
        *(["retry", "last", "--detach"], ["edit", "last", "--name", "a"], ["clone", "last", "--detach"]),
        *(
            ["compare", "last", str(server.model(model_id).job_id)],
            ["models"],
            ["model", str(model_id)],
            ["predict", "digit.png"],
        ),
        *(
            ["sweep", "submit", "-p", "epochs=1,2"],
            ["sweep", "list"],
            ["workers"],
            ["queues"],
            ["keys", "list"],
        ),
    ]

    ended = python(base, "-c", RUN_COMMANDS, json.dumps(commands), url=server.url)

    assert [line for line in ended.stdout.splitlines() if line.startswith("ended:")] == [
        f"ended: {words[0]} 0" for words in commands
    ], ended.stdout + ended.stderr


@pytest.mark.slow
def test_a_command_that_needs_an_extra_says_how_to_install_it(base: Path) -> None:
    commands = [["up"], ["demo"], ["api"], ["worker"], ["migrate"]]

    ended = python(base, "-c", RUN_COMMANDS, json.dumps(commands))

    assert [line.rpartition(": ")[2] for line in ended.stderr.splitlines()] == [
        "pip install 'trainshed[local,worker]'",
        "pip install 'trainshed[local,worker]'",
        "pip install 'trainshed[server]'",
        "pip install 'trainshed[worker]'",
        "pip install 'trainshed[server]'",
    ], ended.stderr
    assert ended.stdout.splitlines() == [f"ended: {name} 2" for [name] in commands]


@pytest.mark.slow
def test_without_pandas_a_data_frame_says_how_to_install_it(base: Path) -> None:
    ended = python(base, "-c", "from trainshed import Metrics; Metrics(series=()).to_frame()")

    assert ended.stderr.splitlines()[-1] == "ImportError: a DataFrame needs pandas: pip install pandas"


def test_what_is_exported_exists_and_is_sorted() -> None:
    assert trainshed.__all__ == sorted(trainshed.__all__)
    assert {name for name in trainshed.__all__ if not hasattr(trainshed, name)} == set()


def test_the_extras_of_the_messages_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, package in PACKAGES.items():
        brought = [*extras[extra], *(extras["server"] if "trainshed[server]" in extras[extra] else ())]
        assert package in brought, extra
