"""Rules of the source tree that neither ruff nor import-linter knows."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import source_tree
from tests.support.paths import ROOT
from tests.support.source_tree import PACKAGES, sources

ROOT_MODULES = {
    "api": {"app", "background", "deps", "services"},
    "shared": {
        *(
            "addresses",
            "broker",
            "errors",
            "lifecycle",
            "log",
            "redis_check",
            "retry",
            "texts",
        ),
    },
    "trainshed": {
        *("async_client", "certificates", "client", "connection", "errors", "images", "items", "streaming"),
    },
}
LARGE_MODULES = {"shared/db/tables.py"}  # all tables
SERVER_PACKAGES = {"sqlalchemy", "alembic", "numpy", "celery", "redis", "uvicorn", "fastapi", "tensorflow"}
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "core", "misc"}

# product modules that no unit test is named after, and where they are tested instead
TESTED_ELSEWHERE = {
    "api/deps.py": "tests/unit/api/routes",
    "api/http/database_problems.py": "tests/unit/api/http/test_error_handlers.py",
    "api/http/problem_type.py": "tests/unit/api/http/test_problems.py",
    "api/http/bodies.py": "tests/unit/api/routes/test_models_predict.py",
    "api/jobs/batches.py": "tests/unit/api/routes/test_job_edits_batch.py",
    "api/jobs/comparison.py": "tests/unit/api/routes/test_metrics.py",
    "api/web/site.py": "tests/unit/api/web/routes",
    "trainshed/doctor/findings.py": "tests/unit/trainshed/doctor",
    "shared/db/postgresql.py": "tests/unit/shared/db/test_engine.py",
    "shared/migrations/env.py": "tests/unit/shared/migrations/test_migrations.py",
    "shared/settings/environment.py": "tests/unit/shared/settings/test_settings.py",
    "shared/store/keyset.py": "tests/unit/shared/store/test_job_lists.py",
    "shared/store/submissions.py": "tests/unit/shared/store/test_submit.py",
    "trainshed/cli/options.py": "tests/unit/trainshed/cli",
    "trainshed/cli/worker_tables.py": "tests/unit/trainshed/cli/test_tables.py",
    "trainshed/errors.py": "tests/unit/trainshed/test_connection.py",
    "trainshed/local/extras.py": "tests/unit/trainshed/test_trainshed.py",
    "workers/__main__.py": "tests/faults/test_broker_faults.py",
    "workers/app.py": "tests/faults",
    "workers/executor.py": "tests/unit/workers/mnist/test_executor.py",
    "workers/parent.py": "tests/faults/test_worker_kills.py",
}
# schemas declare fields, and operations requests: these are tested together
TESTED_TOGETHER = {
    "shared/schemas": "tests/unit/shared/schemas/test_schemas.py",
    "trainshed/operations": "tests/unit/trainshed/test_client.py",
}


def _loaded_by(module: str, folder: Path) -> set[str]:
    """The packages that a new interpreter has loaded after importing a module."""
    script = f"import {module}, sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    environment = {"PYTHONPATH": str(ROOT), "TRAINSHED_DATA_DIR": str(folder)}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("api.app", {"tensorflow", "keras", "sklearn", "scipy", "alembic", "workers"}),
        ("workers.app", {"tensorflow", "keras", "sklearn", "scipy", "alembic", "fastapi", "uvicorn", "api"}),
        ("workers.mnist.executor", {"sklearn", "fastapi", "uvicorn", "api"}),
        ("trainshed.cli.main", SERVER_PACKAGES),  # and so `trainshed --help`
        ("trainshed", {*SERVER_PACKAGES, "typer"}),  # not rich too, which httpx loads
    ],
)
def test_a_process_loads_nothing_that_it_may_never_need(module: str, heavy: set[str], tmp_path: Path) -> None:
    assert not _loaded_by(module, tmp_path) & heavy


def test_modules_have_names_that_say_what_they_are_about() -> None:
    assert not [
        path for path, _ in sources(ROOT, *PACKAGES, "tests", "bench") if Path(path).stem in VAGUE_NAMES
    ]


@pytest.mark.parametrize("package", ROOT_MODULES)
def test_at_a_packages_root_lie_only_the_modules_that_all_its_rooms_use(package: str) -> None:
    assert source_tree.root_modules(ROOT, package) == ROOT_MODULES[package]


def test_the_map_in_the_architecture_page_names_every_module_once_and_no_other() -> None:
    assert source_tree.map_differences(ROOT, ROOT / "docs/architecture.md") == source_tree.NO_DIFFERENCES


def test_every_module_has_its_unit_test_or_is_listed_with_the_test_that_covers_it() -> None:
    untested = {path for path in source_tree.untested(ROOT) if str(Path(path).parent) not in TESTED_TOGETHER}
    assert untested.difference(TESTED_ELSEWHERE) == set()


def test_a_listed_module_exists_and_has_no_unit_test_of_its_own() -> None:
    assert set(TESTED_ELSEWHERE).difference(source_tree.untested(ROOT)) == set()


def test_the_tests_that_cover_the_listed_modules_exist() -> None:
    covering = {*TESTED_ELSEWHERE.values(), *TESTED_TOGETHER.values()}
    assert [path for path in covering if not (ROOT / path).exists()] == []


def test_every_unit_test_is_named_after_a_module() -> None:
    assert source_tree.tests_without_a_module(ROOT) == []


def test_unit_tests_import_helpers_only_from_support_and_fixtures() -> None:
    assert source_tree.helpers_among_unit_tests(ROOT) == []
    assert source_tree.imports_from_tests(ROOT) == []


def test_modules_are_short() -> None:
    assert source_tree.large_modules(ROOT, exempt=LARGE_MODULES) == []


def test_functions_are_short() -> None:
    assert source_tree.large_functions(ROOT) == []


def test_routes_raise_no_http_errors_and_name_their_dependencies_by_alias() -> None:
    for path, tree in sources(ROOT, "api/routes"):
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert names.isdisjoint({"HTTPException", "Depends"}), path


def test_tests_wait_for_conditions_and_never_for_time() -> None:
    for path, tree in sources(ROOT, "tests"):
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        names = {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}
        assert "sleep" not in names, path


def test_only_an_insert_and_the_transitions_set_a_jobs_state() -> None:
    writers = {
        (path, function.name)
        for path, tree in sources(ROOT, *PACKAGES)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and any(map(_sets_a_jobs_state, ast.walk(function)))
    }
    assert writers == {("shared/store/submit.py", "_row"), ("shared/store/transitions.py", "update_of")}


def _sets_a_jobs_state(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        sets_state = any(keyword.arg == "state" for keyword in node.keywords)
        is_schema = called.startswith("schemas.") or "Worker" in called
        return sets_state and not is_schema and called.split(".")[-1] in {"values", "Job", "update"}
    if isinstance(node, ast.Dict):
        items = zip(node.keys, node.values, strict=True)
        return any(
            key is not None and ast.unparse(key) == "'state'" and ast.unparse(value).startswith("JobState.")
            for key, value in items
        )
    if isinstance(node, ast.Assign):
        return any(ast.unparse(target).endswith((".state", "['state']")) for target in node.targets)
    return False


# the checks above, each on a tree that breaks its rule


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree that keeps the rules: one module, its test, and a map that names it."""
    _write(tmp_path / "shared/errors.py")
    _write(tmp_path / "tests/unit/shared/test_errors.py", "from tests.support import factories\n")
    _write(tmp_path / "docs/architecture.md", "| `shared/errors.py` | all errors |\n")
    return tmp_path


def _write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _map_differences(tree: Path) -> dict[str, list[str]]:
    return source_tree.map_differences(tree, tree / "docs/architecture.md")


def test_a_tree_that_keeps_the_rules_passes(tree: Path) -> None:
    assert _map_differences(tree) == source_tree.NO_DIFFERENCES
    assert source_tree.root_modules(tree, "shared") == {"errors"}
    for check in (
        source_tree.untested,
        source_tree.tests_without_a_module,
        source_tree.helpers_among_unit_tests,
        source_tree.imports_from_tests,
        source_tree.large_modules,
        source_tree.large_functions,
    ):
        assert not check(tree)


def test_a_module_that_the_map_omits_is_found(tree: Path) -> None:
    _write(tree / "api/http/extra.py")
    assert _map_differences(tree) == {**source_tree.NO_DIFFERENCES, "not in the map": ["api/http/extra.py"]}


def test_a_line_of_the_map_without_a_module_is_found(tree: Path) -> None:
    (tree / "shared/errors.py").unlink()
    assert _map_differences(tree)["no such module"] == ["shared/errors.py"]


def test_a_module_that_the_map_names_twice_is_found(tree: Path) -> None:
    page = tree / "docs/architecture.md"
    page.write_text(page.read_text() * 2)
    assert _map_differences(tree)["named twice"] == ["shared/errors.py"]


@pytest.mark.parametrize("package", ROOT_MODULES)
def test_an_extra_module_at_a_packages_root_is_found(package: str, tree: Path) -> None:
    for name in [*ROOT_MODULES[package], "extra"]:
        _write(tree / package / f"{name}.py")
    assert source_tree.root_modules(tree, package) - ROOT_MODULES[package] == {"extra"}


def test_a_module_without_a_unit_test_is_found(tree: Path) -> None:
    _write(tree / "shared/store/submit.py")
    assert source_tree.untested(tree) == ["shared/store/submit.py"]

    _write(tree / "tests/unit/shared/store/test_submit_sizes.py")
    assert not source_tree.untested(tree)


def test_a_unit_test_that_is_named_after_no_module_is_found(tree: Path) -> None:
    _write(tree / "tests/unit/shared/test_surroundings.py")
    assert source_tree.tests_without_a_module(tree) == ["tests/unit/shared/test_surroundings.py"]


def test_a_helper_among_the_unit_tests_is_found(tree: Path) -> None:
    _write(tree / "tests/unit/shared/builders.py")
    assert source_tree.helpers_among_unit_tests(tree) == ["tests/unit/shared/builders.py"]


@pytest.mark.parametrize(
    "statement",
    ["from tests.unit.shared.test_log import lines", "import tests.faults.cluster", "from tests import unit"],
)
def test_an_import_from_another_test_is_found(statement: str, tree: Path) -> None:
    _write(tree / "tests/unit/shared/test_errors.py", statement)
    assert len(source_tree.imports_from_tests(tree)) == 1


def test_a_large_module_and_a_large_function_are_found(tree: Path) -> None:
    _write(tree / "shared/errors.py", "def load():\n" + "    pass\n" * 300)
    assert source_tree.large_modules(tree) == ["shared/errors.py: 301"]
    assert source_tree.large_functions(tree) == ["shared/errors.py: load: 301"]
