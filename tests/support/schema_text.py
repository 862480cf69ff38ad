"""The schema as SQL for a migration: `python -m tests.support.schema_text` prints that of `shared.db.tables`.

A migration keeps the text: it must not change with the tables. So while a version is not released yet, its
migration gets the text anew when a table has changed.
"""

import re
import sys
from textwrap import fill

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from shared.db.tables import Base

_WIDTH = 108


def schema_text() -> str:
    """Return the CREATE statements of all tables, each followed by those of its indexes, for PostgreSQL."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    preparer = dialect.identifier_preparer
    # so that the text serves SQLite too
    preparer.reserved_words = preparer.reserved_words | sqlite.base.SQLiteIdentifierPreparer.reserved_words
    paragraphs = []
    for table in Base.metadata.sorted_tables:
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        created: list[ExecutableDDLElement] = [CreateTable(table), *map(CreateIndex, indexes)]
        paragraphs.append("\n".join(_wrapped(str(each.compile(dialect=dialect))) for each in created))
    return "\n\n".join(paragraphs)


def _wrapped(statement: str) -> str:
    lines = re.sub(r"[ \t]+\n", "\n", statement.strip()).replace("\t", "    ").split("\n")
    return "\n".join(_folded(line) for line in lines)


def _folded(line: str) -> str:
    """Break a long line; what goes on is indented by eight spaces."""
    indent = line[: len(line) - len(line.lstrip())]
    return fill(
        line.strip(),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=" " * 8,
        break_long_words=False,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    sys.stdout.write(schema_text() + "\n")
