"""Scored rows of keys that training has not seen, which are read by the level of all keys: counted and said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from serving.wording import counted


@dataclass(frozen=True)
class Unseen:
    """How many scored rows are of such keys, and the first of these."""

    rows: int = 0
    first: str = ""

    def __add__(self, other: Unseen) -> Unseen:
        return Unseen(self.rows + other.rows, self.first or other.first)

    def noted(self) -> dict[str, Any]:
        """The entry of a commit or manifest; none if there are no such rows."""
        return {"unseen": asdict(self)} if self.rows else {}

    def text(self) -> str:
        """What to warn of; empty if there are no such rows."""
        if not self.rows:
            return ""
        return (
            f"{counted(self.rows, 'scored row is', 'scored rows are')} of keys that training has not seen, first "
            f"{self.first!r}, and read by the level of all keys: a machine that differs from the others may alarm for "
            "that alone; train again with rows of the new keys"
        )


NONE = Unseen()


def unseen_of(commits: Iterable[Mapping[str, Any]]) -> Unseen:
    """The rows of several commits."""
    return sum((Unseen(**commit["unseen"]) for commit in commits if "unseen" in commit), NONE)
