"""The container images: small, without root, quick to rebuild and to stop. Run by `make e2e-compose`.

And README's first command in a container that has Python and make only.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from tests.support.containers import docker, inspected
from tests.support.paths import ROOT

BASE = "python:3.13-slim"
MAX_API_BYTES = 170_000_000  # on top of the base image
MAX_STOP_S = 10.0
TARGETS = ("api", "worker")
# what a start imports must have bytecode: it cannot be written
UNCOMPILED = """
import importlib, os, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
cached = {module.__name__: getattr(module, "__cached__", None) for module in sys.modules.values()}
print([name for name, path in cached.items() if path and not os.path.exists(path)])
"""
IMPORTED = {
    "api": (
        "api.app",
        "trainshed.cli.main",
        "uvicorn.protocols.http.httptools_impl",
        "onnxruntime",
        "alembic.command",
    ),
    "worker": ("workers.app", "workers.mnist.executor"),
}

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "clone"
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    return folder


@pytest.fixture(scope="module")
def images(source: Path) -> Iterator[dict[str, str]]:
    """The images by their targets."""
    names = {target: f"trainshed-{target}:test" for target in TARGETS}
    for target, name in names.items():
        build(source, target, name)
    yield names
    docker("image", "rm", "-f", *names.values())


def build(source: Path, target: str, name: str, *options: str) -> None:
    file = str(source / "deploy" / "Dockerfile")
    docker("build", "-q", "-f", file, "--target", target, "-t", name, *options, str(source))


def test_the_api_is_small_and_has_no_tensorflow(images: dict[str, str]) -> None:
    assert inspected(images["api"])["Size"] - inspected(BASE)["Size"] < MAX_API_BYTES
    search = "find / -xdev -type d ( -name tensorflow -o -name sklearn -o -name scipy )"
    assert (
        docker("run", "--rm", "--user", "0", "--entrypoint", "find", images["api"], *search.split()[1:]) == ""
    )


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_says_what_it_is_and_how_to_check_and_stop_it(images: dict[str, str], target: str) -> None:
    config = inspected(images[target])["Config"]
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"]
    assert config["Labels"].keys() >= {f"org.opencontainers.image.{name}" for name in ("title", "version")}


@pytest.mark.parametrize("target", TARGETS)
def test_everything_that_a_start_imports_has_bytecode(images: dict[str, str], target: str) -> None:
    options = ("--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none", "--entrypoint", "python")
    missing = docker("run", *options, images[target], "-c", UNCOMPILED, *IMPORTED[target]).splitlines()[-1]
    assert missing == "[]"


@pytest.mark.parametrize("target", TARGETS)
def test_digits_need_no_network(images: dict[str, str], target: str) -> None:
    code = "from shared.datasets import digits; print(digits.decode()[0].shape)"
    options = ("--rm", "--read-only", "--network", "none", "--entrypoint", "python")
    assert docker("run", *options, images[target], "-c", code) == "(1797, 784)"


@pytest.mark.parametrize("target", TARGETS)
def test_a_change_of_one_line_is_one_new_layer_which_needs_no_download(
    images: dict[str, str], source: Path, target: str
) -> None:
    before = inspected(images[target])["RootFS"]["Layers"]
    changed = source / ("api" if target == "api" else "workers") / "app.py"
    text = changed.read_text()
    changed.write_text(f"{text}# changed\n")
    try:
        build(source, target, f"{images[target]}-changed")  # what is not cached runs without a network
        after = inspected(f"{images[target]}-changed")["RootFS"]["Layers"]
    finally:
        changed.write_text(text)
        docker("image", "rm", "-f", f"{images[target]}-changed")
    assert after[:-1] == before[:-1]
    assert after[-1] != before[-1]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("after_s", [0.05, 0.3, 0.6, 1.0, 2.0])
def test_a_container_that_has_just_started_stops_at_once(
    images: dict[str, str], target: str, after_s: float
) -> None:
    options = (
        "-d",
        "--network",
        "none",
        "--read-only",
        "--tmpfs",
        "/tmp",
        "-e",
        f"TRAINSHED_API_KEYS={'k' * 32}",
    )
    container = docker("run", *options, images[target])
    try:
        # the moment of the signal is the subject: no condition says that Python has set no handler yet
        Event().wait(after_s)
        began = monotonic()
        docker("stop", "-t", "30", container)
        assert monotonic() - began < MAX_STOP_S
        assert inspected(container)["State"]["ExitCode"] != 137  # not killed
    finally:
        docker("rm", "-fv", container)


def configuration(source: Path, environment: str) -> subprocess.CompletedProcess[str]:
    """What compose makes of the file with this `.env`."""
    (source / ".env").write_text(environment)
    command = ["docker", "compose", "config", "--format", "json"]
    return subprocess.run(command, cwd=source, capture_output=True, text=True)


SECRETS = {"POSTGRES_PASSWORD": "x", "REDIS_PASSWORD": "y", "TRAINSHED_API_KEYS": "k"}


@pytest.mark.parametrize("missing", SECRETS)  # of several Compose names any one
def test_compose_names_what_an_operator_must_set(source: Path, missing: str) -> None:
    refused = configuration(source, _lines({**SECRETS, missing: ""}))
    assert refused.returncode != 0
    assert f"set {missing} in .env" in refused.stderr


def _lines(variables: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in variables.items())


def test_the_first_command_needs_python_and_make_only(source: Path, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\nRUN apt-get update -q && apt-get install -qy make\n")
    image = docker("build", "-q", str(tmp_path))
    urls = {name: url for name, url in os.environ.items() if name.startswith("TRAINSHED_MNIST_")}
    files = [url.removeprefix("file://") for url in urls.values() if url.startswith("file://")]
    given = [f"--env={name}={url}" for name, url in urls.items()] + [f"-v={path}:{path}:ro" for path in files]
    try:
        copied = f"cp -r {source} /clone && cd /clone && make demo"
        output = docker("run", "--rm", *given, f"-v={source}:{source}:ro", image, "sh", "-c", copied)
    finally:
        docker("image", "rm", "-f", image)
    assert "consistent with each other" in output


def test_every_setting_in_the_env_file_reaches_the_api_and_the_workers(source: Path) -> None:
    accepted = configuration(source, _lines({**SECRETS, "TRAINSHED_LEASE_S": "33"}))
    services = json.loads(accepted.stdout)["services"]
    for name in ("api", "migrate", "worker"):
        assert services[name]["environment"]["TRAINSHED_LEASE_S"] == "33"
        assert services[name]["environment"]["TRAINSHED_REDIS_URL"] == "redis://:y@redis:6379/0"
