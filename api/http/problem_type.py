"""A kind of error that the API responds with."""

from dataclasses import dataclass
from typing import Any

from shared.schemas import Problem


@dataclass(frozen=True)
class ProblemType:
    """A kind of error.

    Attributes:
        slug: identifies it, as the end of its `type`.
        status: the HTTP status.
        title: a summary, the same for each occurrence.
        advice: what a client can do about it.
    """

    slug: str
    status: int
    title: str
    advice: str

    @property
    def uri(self) -> str:
        """The `type` of problems of this kind."""
        return f"/problems/{self.slug}" if self.slug else "about:blank"

    def problem(self, detail: str, **members: Any) -> Problem:
        """Return a problem of this kind; `members` are the optional fields of its schema."""
        return Problem(type=self.uri, title=self.title, status=self.status, detail=detail, **members)
