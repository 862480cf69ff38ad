"""Checks of a source tree. Each takes the tree's root, so that tests can apply it to a small example too."""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("api", "workers", "shared", "trainshed")
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 40

_MIGRATIONS = "shared/migrations/versions/"
_UNIT = "tests/unit"
_OF_THE_QUEUE = tuple(f"{_UNIT}/shared/{folder}/" for folder in ("store", "db", "migrations"))
_STORE = (
    *("attempts", "claims", "dependencies", "dependents", "dispatch", "event_log", "group_commit"),
    *(
        "idempotency",
        "job_edits",
        "known_turns",
        "limits",
        "new_jobs",
        "places",
        "preemption",
        "progress",
        "recovery",
    ),
    *("results", "submissions", "submit", "tenant_loads", "tenants", "transitions", "turns", "waits"),
)
_QUEUE = re.compile(rf"shared\.(db\.tables|store\.({'|'.join(_STORE)}))\b")


def sources(root: Path, *folders: str) -> Iterator[tuple[str, ast.Module]]:
    """The path, relative to the root, and the syntax tree of every Python file in some folders."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root).as_posix(), _parse(path.read_text())


_parse = cache(ast.parse)  # of the same text only once: many checks read the same modules


def modules(root: Path) -> list[str]:
    """The product's modules, apart from packages' `__init__.py` and the migrations."""
    return [
        path
        for path, _ in sources(root, *PACKAGES)
        if not path.endswith("/__init__.py") and not path.startswith(_MIGRATIONS)
    ]


def root_modules(root: Path, package: str) -> set[str]:
    """The names of the modules directly in a package, not in its subpackages."""
    return {path.stem for path in (root / package).glob("*.py")} - {"__init__"}


def folders(root: Path) -> set[str]:
    """The product's folders that have modules."""
    return {str(Path(path).parent) for path in modules(root)}


def map_differences(root: Path, page: Path) -> dict[str, list[str]]:
    """Folders of which a page's tables name no module, and lines of its tables that name no module."""
    mapped = set(re.findall(r"^\| `([\w/]+\.py)` \| .+ \|$", page.read_text(), flags=re.MULTILINE))
    return {
        "not in the map": sorted(folders(root) - {str(Path(path).parent) for path in mapped}),
        "no such module": sorted(mapped.difference(modules(root))),
    }


def differences_of_tests(root: Path) -> dict[str, list[str]]:
    """Folders of the product without unit tests, and folders of unit tests without a product's."""
    tests = (root / _UNIT).glob("*/**/test_*.py")
    tested = {path.parent.relative_to(root / _UNIT).as_posix() for path in tests}
    return {
        "not tested": sorted(folders(root) - tested),
        "no such folder": sorted(tested - folders(root)),
    }


def users_of_the_queue(root: Path) -> set[str]:
    """Modules that import tables, or modules of the store in which jobs are made and change.

    Those of the tests of the store, of the tables and of the migrations are left out.
    """
    return {
        path
        for path, tree in sources(root, "tests")
        if not path.startswith(_OF_THE_QUEUE) and any(map(_QUEUE.match, _imported(tree)))
    }


def helpers_among_unit_tests(root: Path) -> list[str]:
    """Files of the unit tier that are neither tests nor fixtures."""
    return [
        path for path, _ in sources(root, _UNIT) if not re.search(r"/(test_\w+|conftest|__init__)\.py$", path)
    ]


def imports_from_tests(root: Path) -> list[str]:
    """Imports in the unit tier from tests, apart from `tests.support` and fixtures."""
    return [
        f"{path}: {name}"
        for path, tree in sources(root, _UNIT)
        for name in _imported(tree)
        if re.match(r"tests\.(?!support\b)", name) and ".conftest." not in name
    ]


def _imported(tree: ast.Module) -> Iterator[str]:
    """The full names of the modules, and of what is in them, that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def large_modules(root: Path, exempt: Iterable[str] = ()) -> list[str]:
    """Modules of more than `MAX_MODULE_LINES` lines."""
    sizes = {path: len((root / path).read_text().splitlines()) for path in modules(root)}
    allowed = set(exempt)
    return [
        f"{path}: {size}" for path, size in sizes.items() if size > MAX_MODULE_LINES and path not in allowed
    ]


def large_functions(root: Path) -> list[str]:
    """Functions of more than `MAX_FUNCTION_LINES` lines, less their docstring; migrations are exempt."""
    return [
        f"{path}: {node.name}: {size}"
        for path, tree in sources(root, *PACKAGES)
        if not path.startswith(_MIGRATIONS)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (size := _lines(node) - _docstring_lines(node)) > MAX_FUNCTION_LINES
    ]


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or 0) - node.lineno + 1


def _docstring_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return _lines(function.body[0]) if ast.get_docstring(function) is not None else 0
