"""What a trained model can be used for: one protocol an ability.

A model has an ability by defining the protocol's method. From its abilities follow its tasks, what can be sealed of it,
the estimators that take it and the laws that it must obey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ganlib.nn.sampler import Sampler


@runtime_checkable
class Samples(Protocol):
    """Generates examples."""

    def sampler(self) -> Sampler:
        """A pure module from noise ``(n, latent_dim)``, and conditions if it takes any, to examples ``(n, *shape)``."""


@runtime_checkable
class Scores(Protocol):
    """Scores how anomalous examples are."""

    def scorer(self) -> nn.Module:
        """A pure module from examples ``(n, *shape)`` to scores ``(n,)``, high for anomalous ones."""


@runtime_checkable
class Locates(Protocol):
    """Says where an image is anomalous."""

    def locator(self) -> nn.Module:
        """A pure module from images ``(n, channels, h, w)`` to scores of places ``(n, rows, columns)``.

        Places divide the image evenly; scores are high for anomalous ones.
        """


@runtime_checkable
class Encodes(Protocol):
    """Maps examples to codes."""

    def encode(self, x: Tensor) -> Tensor:
        """Codes ``(n, k)`` of examples ``(n, *shape)``, and of ``y``, int64 ``(n,)``, if it is class-conditional."""


@runtime_checkable
class Predicts(Protocol):
    """Names classes."""

    def classify(self, x: Tensor) -> Tensor:
        """The most probable class of examples ``(n, *shape)``, int64 ``(n,)``."""


@runtime_checkable
class Segments(Protocol):
    """Names the class of each pixel."""

    def segment(self, x: Tensor) -> Tensor:
        """The most probable class of each pixel of images ``(n, channels, height, width)``, int64 ``(n, height,
        width)``."""


@runtime_checkable
class Translates(Protocol):
    """Maps examples of one domain to another."""

    def translate(self, x: Tensor) -> Tensor:
        """The counterparts of examples ``(n, *shape)`` in domain ``x_b``, ``(n, *its shape)``."""


@runtime_checkable
class TranslatesBack(Protocol):
    """Maps examples of the other domain to the first."""

    def translate_back(self, x: Tensor) -> Tensor:
        """The counterparts of examples of domain ``x_b`` in domain ``x``, ``(n, *its shape)``."""


@runtime_checkable
class HasDensity(Protocol):
    """Knows the density of examples.

    A model may also define ``density()``, its log-density as a module for export (``ganlib.nn.density``),
    ``no_density_of``, modalities of which ``log_prob`` is no density, and ``why_no_density``, for messages.
    """

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of examples ``(n, *shape)`` in nats, ``(n,)``."""


@runtime_checkable
class Acts(Protocol):
    """Chooses actions."""

    def act(self, x: Tensor) -> Tensor:
        """The most probable action under observations ``(n, k)``, int64 ``(n,)``."""


ABILITIES: tuple[type, ...] = (
    Samples, Scores, Locates, Encodes, Predicts, Segments, Translates, TranslatesBack, HasDensity, Acts,
)  # fmt: skip
TASKS: dict[str, type] = {
    "augmenter": Samples,
    "detector": Scores,
    "classifier": Predicts,
    "segmenter": Segments,
    "translator": Translates,
    "density": HasDensity,
    "behaviour": Acts,
}
EXPORTS: dict[str, type] = {"sampler": Samples, "scorer": Scores}


def abilities_of(build: type, config: Any) -> tuple[type, ...]:
    """The abilities of models of this class with these options."""
    lacks = build.lacks(config)  # type: ignore[attr-defined]
    return tuple(ability for ability in ABILITIES if issubclass(build, ability) and ability not in lacks)


def can(model: Any, ability: type) -> bool:
    """Whether a model has the ability, its options considered."""
    lacks = getattr(model, "lacks", None)
    return lacks is not None and ability not in lacks(getattr(model, "config", None)) and isinstance(model, ability)
