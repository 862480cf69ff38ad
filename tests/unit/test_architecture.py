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

# modules of the tests that may import tables, and those of the store in which jobs are made and change
USERS_OF_THE_QUEUE = {
    "tests/faults/armed.py": "a program that shortens how long group commit waits",
    "tests/faults/failpoints.py": "stops at the statement that stores an event",
    "tests/faults/oracle.py": "checks all rows of a job after faults, not by the product's own reads",
    "tests/faults/test_database_faults.py": "damages the stored bytes of a checkpoint",
    "tests/faults/test_dependents.py": "stores ten thousand jobs that wait, and checks the end of each",
    "tests/integration/test_live.py": "a transaction that stays open, and a database restored from a backup",
    "tests/integration/test_store_races.py": "tests the store",
    "tests/integration/test_store_repeats.py": "tests the store",
    "tests/support/databases.py": "creates and empties databases",
    "tests/support/factories.py": "makes the values that the driver stores",
    "tests/support/fakes.py": "a clock in place of the database's has the type of its columns",
    "tests/support/moved_rows.py": "compares the rows of all tables",
    "tests/support/pool_processes.py": "a pool process knows whose turn it is",
    "tests/support/queue_driver.py": "the driver",
    "tests/support/registry.py": "stores what stands beside jobs",
    "tests/support/schema_text.py": "prints the tables as SQL",
    "tests/support/slots.py": "slots on a clock that is moved, for the tests of whose turn it is",
    "tests/support/store_machine.py": "tests the store",
    "tests/support/store_model.py": "tests the store",
    "tests/support/stored.py": "reads what is stored",
    "tests/support/turns.py": "a model of the order of jobs, for the tests of the store",
    "tests/unit/api/webhooks/test_sending.py": "the sender is called with a row",
    "tests/unit/workers/test_attempt_trace.py": "spans are made of claims and lost attempts",
    "tests/unit/workers/test_bundle.py": "what was claimed together is made of claims",
    "tests/unit/api/monitoring/test_job_counters.py": "claims in a transaction that stays open",
    "tests/unit/workers/test_scribe.py": "turns of a process on a clock that is moved",
    "tests/unit/workers/test_pending.py": "reports within the transaction that writes what is pending",
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


def test_the_map_in_the_architecture_page_names_every_folder_and_no_module_that_is_not_there() -> None:
    differences = source_tree.map_differences(ROOT, ROOT / "docs/architecture.md")
    assert differences == {"not in the map": [], "no such module": []}


def test_each_folder_of_the_product_has_its_unit_tests() -> None:
    assert source_tree.differences_of_tests(ROOT) == {"not tested": [], "no such folder": []}


def test_tests_outside_the_stores_own_make_and_change_jobs_by_the_driver() -> None:
    assert source_tree.users_of_the_queue(ROOT) == USERS_OF_THE_QUEUE.keys()


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


def test_each_check_of_the_tree_finds_what_breaks_its_rule(tmp_path: Path) -> None:
    strange, page = "tests/unit/shared/strange/test_it.py", tmp_path / "docs/architecture.md"
    for path, text in {
        "docs/architecture.md": "| `shared/lost.py` | a module that is gone |\n",
        "shared/errors.py": "def load():\n" + "    pass\n" * 300,
        "tests/unit/shared/builders.py": "",
        strange: "from tests.unit.shared.test_log import lines\nfrom tests import e2e",
        "tests/faults/test_jobs.py": "from shared.store import job_queries, submit",
        "tests/faults/test_lists.py": "from shared.store import job_queries\nfrom shared.db import engine",
        "tests/unit/shared/store/test_submit.py": "from shared.store.submit import submit_job",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    assert source_tree.map_differences(tmp_path, page)["no such module"] == ["shared/lost.py"]
    page.write_text("")
    assert source_tree.map_differences(tmp_path, page)["not in the map"] == ["shared"]
    assert source_tree.differences_of_tests(tmp_path) == {
        "not tested": ["shared"],
        "no such folder": ["shared/store", "shared/strange"],
    }
    assert source_tree.users_of_the_queue(tmp_path) == {"tests/faults/test_jobs.py"}
    assert source_tree.root_modules(tmp_path, "shared") == {"errors"}
    assert source_tree.helpers_among_unit_tests(tmp_path) == ["tests/unit/shared/builders.py"]
    assert source_tree.imports_from_tests(tmp_path) == [
        f"{strange}: tests.unit.shared.test_log.lines",
        f"{strange}: tests.e2e",
    ]
    assert source_tree.large_modules(tmp_path) == ["shared/errors.py: 301"]
    assert source_tree.large_functions(tmp_path) == ["shared/errors.py: load: 301"]
