"""The type of a problem document: a kind of error response of the API."""

from dataclasses import dataclass
from typing import Any

from shared.schemas import Problem


@dataclass(frozen=True)
class ProblemType:
    """A kind of error.

    Attributes:
        slug: the identifier at the end of `type`; empty for `about:blank`.
        status: the HTTP status.
        title: a summary, the same for each occurrence.
        advice: the remedy, for the client.
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
