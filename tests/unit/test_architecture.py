"""The rules that hold the code together and that no linter knows."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGES = ("api", "workers", "shared", "trainshed")
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "core", "misc"}


def _sources(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text())


def _loaded_by(module: str, folder: Path) -> set[str]:
    """The packages that a fresh interpreter has loaded after importing a module."""
    script = f"import {module}, sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    environment = {"PYTHONPATH": str(ROOT), "TRAINSHED_DATA_DIR": str(folder)}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("api.app", {"tensorflow", "keras", "sklearn", "scipy", "workers"}),
        ("workers.app", {"tensorflow", "keras", "sklearn", "scipy", "fastapi", "uvicorn", "api"}),
    ],
)
def test_a_process_loads_nothing_that_it_may_never_need(module: str, heavy: set[str], tmp_path: Path) -> None:
    assert not _loaded_by(module, tmp_path) & heavy


def test_modules_have_names_that_say_what_they_are_about() -> None:
    assert not [path for path, _ in _sources(*PACKAGES, "tests", "bench") if path.stem in VAGUE_NAMES]


def test_every_shared_module_has_its_test() -> None:
    modules = {path.stem for path in (ROOT / "shared").glob("*.py") if path.stem != "__init__"}
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests/unit/shared").glob("test_*.py")}
    assert modules <= tested


def test_routes_raise_no_http_errors() -> None:
    for path, tree in _sources("api/routes"):
        assert "HTTPException" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}, path


def test_tests_wait_for_conditions_and_never_for_time() -> None:
    for path, tree in _sources("tests"):
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        names = {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}
        assert "sleep" not in names, path


def test_only_an_insert_and_the_transitions_set_a_jobs_state() -> None:
    writers = {
        (path.as_posix(), function.name)
        for path, tree in _sources(*PACKAGES)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and any(map(_sets_a_jobs_state, ast.walk(function)))
    }
    assert writers == {("shared/store/submit.py", "_insert"), ("shared/store/transitions.py", "change")}


def _sets_a_jobs_state(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        written = ast.unparse(node.func)
        sets_state = any(keyword.arg == "state" for keyword in node.keywords)
        return sets_state and "Worker" not in written and written.endswith((".values", "Job", "update"))
    if isinstance(node, ast.Assign):
        return any(ast.unparse(target).endswith((".state", "['state']")) for target in node.targets)
    return False
