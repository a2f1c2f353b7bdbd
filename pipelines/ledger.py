"""The promotion ledger: append-only runs of one MLflow experiment, opened before an alias moves, closed after."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.connection import quoted
from pipelines.errors import TryAgain, UsageError
from pipelines.policies import registry_policy
from pipelines.registry import Registry
from serving.crash import crash_point

_CLOSED = {"done": "FINISHED", "undone": "KILLED", "lost": "FAILED", "refused": "FINISHED"}


@dataclass(frozen=True)
class Row:
    """One row; ``state`` is open, done, undone (a crash before the alias moved), lost (to another) or refused."""

    id: str
    number: int
    started: float
    tags: Mapping[str, str]

    @property
    def state(self) -> str:
        """One of the states that the class names."""
        return self.tags.get("state", "open")

    @property
    def action(self) -> str:
        """promote or rollback."""
        return self.tags["action"]

    @property
    def before(self) -> str | None:
        """The champion before; None if there was none."""
        return self.tags.get("from") or None

    @property
    def after(self) -> str:
        """The champion after."""
        return self.tags["to"]

    @property
    def alive(self) -> bool:
        """Whether the process that opened the row may still be running."""
        age = time.time() - self.started
        if age > 60 * float(registry_policy()["ledger"]["stale_minutes"]):
            return False
        if self.tags.get("host") != socket.gethostname():
            return True
        pid = int(self.tags.get("pid", 0))
        return pid != os.getpid() and _runs(pid)

    def gates(self) -> list[dict[str, Any]]:
        """The table of gates."""
        return json.loads(self.tags.get("gates") or "[]")

    def failed(self) -> list[str]:
        """Names of the gates that did not pass."""
        return [gate["name"] for gate in self.gates() if not gate["passed"]]

    def to_dict(self) -> dict[str, Any]:
        """JSON values, as `ganlib history` shows them."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.started))
        shown = {key: self.tags.get(key, "") for key in ("action", "from", "to", "who", "state", "note")}
        return {"number": self.number, "when": when, "run_id": self.id, **shown, "gates": self.gates()}


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Ledger:
    """The rows of one model; its champion is moved through this class only."""

    def __init__(self, registry: Registry, name: str) -> None:
        self.registry, self.name = registry, name
        self.policy = registry_policy()["ledger"]

    def rows(self) -> list[Row]:
        """All rows, oldest first; raises UsageError if the model does not exist."""
        self.registry.aliases(self.name)
        client, experiment = self.registry.client(), self.registry.find_experiment(self.policy["experiment"])
        found: list[Row] = []
        token = None
        if experiment is None:
            return found
        while True:
            page = client.search_runs(
                [experiment], f"tags.model = {quoted(self.name)}", max_results=1000, page_token=token
            )
            found += [Row(r.info.run_id, int(r.data.tags.get("number", 0)), r.info.start_time / 1000, dict(r.data.tags))
                      for r in page]  # fmt: skip
            token = page.token
            if not token:
                return sorted(found, key=lambda row: (row.number, row.started, row.id))

    def line(self) -> list[str]:
        """The champions in order, the current one last; rollback goes back along this line."""
        line: list[str] = []
        for row in self.rows():
            if row.state != "done":
                continue
            if row.action == "rollback":
                while line and line[-1] != row.after:
                    line.pop()
                line = line or [row.after]
                continue
            for version in (row.before, row.after):  # moved by hand between two rows, or judged while champion
                if version and version not in line[-1:]:
                    line.append(version)
        return line

    def doubt(self) -> str | None:
        """Why the champion is not the version promoted last; None if it is, or if there is no champion."""
        champion, line, rows = self.champion(), self.line(), self.rows()
        moving = any(row.state == "open" and row.after == champion for row in rows)
        if champion is None or champion in line[-1:] or moving:
            return None
        ends = f"the ledger ends with version {line[-1]}" if line else "no promotion is recorded"
        back = f"; `ganlib promote {self.name} --version {line[-1]}` goes back" if line else ""
        rejected = next((row for row in reversed(rows) if row.state == "refused" and row.after == champion), None)
        failed = f" The gates had rejected it ({', '.join(rejected.failed())})." if rejected else ""
        return (
            f"the champion of {self.name!r} is version {champion}, but {ends}: the alias was moved by hand.{failed} "
            f"`ganlib promote {self.name} --version {champion}` judges it{back}"
        )

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Lock out other promotions on this machine; those on other machines show by their open rows."""
        from filelock import FileLock, Timeout

        place = self.registry.folder or Path(tempfile.gettempdir())
        mark = hashlib.sha256(f"{self.registry.uri}|{self.name}".encode()).hexdigest()[:16]
        lock = FileLock(place / f"ganlib-promotion-{mark}.lock", float(self.policy["lock_seconds"]), mode=0o666)
        try:
            lock.acquire()
        except Timeout as error:
            raise TryAgain(
                f"another promotion of {self.name!r} is running on this machine; try again when it has ended"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def settle(self) -> None:
        """Finish or undo a promotion that a crash interrupted; raises TryAgain (75) while another one is running."""
        if any(row.state == "open" for row in self.rows()):
            with self._turn():
                self._settle()

    def _settle(self) -> None:
        for row in self.rows():
            if row.state != "open":
                continue
            if row.alive:
                raise TryAgain(
                    f"{row.tags.get('who', 'somebody')} on {row.tags.get('host', 'another host')} is moving the "
                    f"champion of {self.name!r}; try again in a minute"
                )
            champion = self.champion()
            if champion == row.after:
                self._set_previous(row.tags.get("previous") or None)
                self._close(row.id, "done", "finished by the next call")
            elif champion == row.before:
                self._close(row.id, "undone", "the alias had not moved")
            else:
                self._close(row.id, "undone", f"the champion is version {champion}, which this row does not know")

    def champion(self) -> str | None:
        """The current champion's version."""
        return self.registry.aliases(self.name).get("champion")

    def note_refusal(self, before: str | None, after: str, gates: list[dict[str, Any]]) -> None:
        """Add a row for a challenger that did not pass; the alias does not move."""
        with self._turn():
            row = self._open("promote", before, after, None, gates)
            self._close(row, "refused")

    def move(
        self, action: str, before: str | None, after: str, previous: str | None, gates: list[dict[str, Any]]
    ) -> None:
        """Make ``after`` the champion and ``previous`` the version behind it; the steps of docs/promotion.md.

        Raises TryAgain (75) if the champion is no longer ``before`` or another promotion is running.
        """
        with self._turn():
            self._settle()
            if self.champion() != before:
                raise self._changed(before)
            row = self._open(action, before, after, previous, gates)
            crash_point("ledger_opened")
            others = [r for r in self.rows() if r.state == "open" and r.id != row]
            if others or self.champion() != before:
                self._close(row, "lost", "another promotion came in between")
                raise self._changed(before)
            self.registry.set_alias(self.name, "champion", after)
            crash_point("alias_moved")
            self._set_previous(previous)
            self._close(row, "done")
            crash_point("ledger_closed")

    def _changed(self, before: str | None) -> TryAgain:
        was, now = (f"version {v}" if v else "no version" for v in (before, self.champion()))
        return TryAgain(
            f"the champion of {self.name!r} was {was} when the gates began and is {now} now: another process moved it. "
            f"See `ganlib history {self.name}` and try again"
        )

    def _set_previous(self, version: str | None) -> None:
        if version is not None or "previous" in self.registry.aliases(self.name):
            self.registry.set_alias(self.name, "previous", version)

    def _open(
        self, action: str, before: str | None, after: str, previous: str | None, gates: list[dict[str, Any]]
    ) -> str:
        number = max((row.number for row in self.rows()), default=0) + 1
        tags = {
            "model": self.name, "number": str(number), "action": action, "from": before or "", "to": after,
            "previous": previous or "", "who": _who(), "host": socket.gethostname(), "pid": str(os.getpid()),
            "state": "open", "gates": json.dumps(gates),
        }  # fmt: skip
        experiment = self.registry.experiment(self.policy["experiment"])
        name = f"{number}: {action} {self.name} {before or 'none'} -> {after}"
        return self.registry.client().create_run(experiment, tags=tags, run_name=name).info.run_id

    def _close(self, row: str, state: str, note: str = "") -> None:
        client = self.registry.client()
        if note:
            client.set_tag(row, "note", note)
        client.set_tag(row, "state", state)
        client.set_terminated(row, _CLOSED[state])


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def target_of_rollback(ledger: Ledger) -> tuple[str, str, str | None]:
    """(current champion, the one to go back to, the one behind that); raises UsageError if there is none."""
    current, line = ledger.champion(), ledger.line()
    if current is None or not line:
        raise UsageError(f"model {ledger.name!r} has no promotion to roll back; see `ganlib history {ledger.name}`")
    if line[-1] != current:
        raise UsageError(
            f"the champion of {ledger.name!r} is version {current}, but the ledger ends with version {line[-1]}: the "
            f"alias was moved by hand. Promote the version you want: ganlib promote {ledger.name} --version N"
        )
    if len(line) < 2:
        raise UsageError(f"version {current} is the first champion of {ledger.name!r}; there is nothing to go back to")
    return current, line[-2], line[-3] if len(line) > 2 else None
