"""What opening a sealed file needs of its kind: metadata, ports, golden rows, batch size."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from serving.errors import IntegrityError
from serving.opening.cost import GENERATED_CHUNK
from serving.opening.entries import Metadata
from serving.opening.golden import Feeds
from serving.opening.ports import Ports
from serving.table.examples import Layout


class SealedModel(Metadata):
    """The validated metadata of one kind of sealed model, and the checks that are specific to it.

    A kind states its entries as fields, and overrides the methods below.
    """

    holds: ClassVar[str] = "arrays"
    """What messages call the graph's inputs and outputs."""

    @abstractmethod
    def ports(self) -> tuple[Ports, Ports]:
        """The inputs and outputs by name that the metadata require."""

    @abstractmethod
    def self_test(self, session: Any) -> None:
        """Run the golden rows again; raises IntegrityError if the graph does not reproduce the sealed results."""

    @property
    def explanation(self) -> str:
        """The output that ``explain`` adds; empty if there is none."""
        return ""

    def outputs(self) -> list[Ports]:
        """The sets of outputs that are allowed."""
        return [self.ports()[1]]

    def golden_feeds(self) -> Feeds:
        """The golden rows as feeds; raises IntegrityError if they do not match the inputs."""
        raise IntegrityError(f"a sealed {self.kind} has no golden rows to read")

    def check_constants(self, model: Any) -> None:
        """Raise IntegrityError for constants of the graph that contradict the metadata, or that override an input."""
        if free := {t.name for t in model.graph.initializer} & self.ports()[0].keys():
            raise IntegrityError(
                f"gives its input {sorted(free)[0]!r} a default, which this format does not use; rejected"
            )

    @property
    def layout(self) -> Layout | None:
        """How the graph takes an example of an array; None if it does not take raw arrays."""
        return None

    @property
    def most_rows(self) -> int:
        """The largest batch of a session."""
        return GENERATED_CHUNK
