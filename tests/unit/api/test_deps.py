import ast
from pathlib import Path

import api.deps

ROUTES = Path(api.deps.__file__).parent / "routes"


def test_routes_name_their_dependencies_by_alias() -> None:
    for path in ROUTES.glob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert "Depends" not in names, path
