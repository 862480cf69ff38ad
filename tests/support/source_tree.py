"""Checks of a source tree. Each takes the tree's root, so that tests can apply it to a small example too."""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("api", "workers", "shared", "trainshed")
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 40

NO_DIFFERENCES: dict[str, list[str]] = {"not in the map": [], "no such module": [], "named twice": []}

_MIGRATIONS = "shared/migrations/versions/"
_UNIT = "tests/unit"


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


def map_differences(root: Path, page: Path) -> dict[str, list[str]]:
    """Modules that a page's tables omit, and lines of its tables that name no module."""
    lines = re.findall(r"^\| `([\w/]+\.py)` \| .+ \|$", page.read_text(), flags=re.MULTILINE)
    mapped, present = set(lines), set(modules(root))
    return {
        "not in the map": sorted(present - mapped),
        "no such module": sorted(mapped - present),
        "named twice": sorted(line for line in mapped if lines.count(line) > 1),
    }


def untested(root: Path) -> list[str]:
    """Modules without `test_<module>.py` or `test_<module>_<subject>.py` at the mirrored place."""
    tested = {module for _, candidates in _unit_tests(root) for module in candidates}
    return [module for module in modules(root) if module not in tested]


def tests_without_a_module(root: Path) -> list[str]:
    """Test modules in the product's mirror that are named after neither a module nor their own package."""
    present = set(modules(root))
    return [
        test
        for test, candidates in _unit_tests(root)
        if present.isdisjoint(candidates) and Path(test).stem != f"test_{Path(test).parent.name}"
    ]


def _unit_tests(root: Path) -> Iterator[tuple[str, set[str]]]:
    """Each test module of the mirror, and the modules after which it may be named."""
    for package in PACKAGES:
        for path in sorted((root / _UNIT / package).rglob("test_*.py")):
            words = path.stem.split("_")[1:]
            folder = path.parent.relative_to(root / _UNIT).as_posix()
            names = ("_".join(words[:count]) for count in range(1, len(words) + 1))
            yield path.relative_to(root).as_posix(), {f"{folder}/{name}.py" for name in names}


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
        if re.match(r"tests\.(?!support\b)", name) and not name.endswith(".conftest")
    ]


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            is_package = node.module == "tests"
            yield from (f"tests.{alias.name}" for alias in node.names) if is_package else [node.module or ""]


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
