"""TP-GAN: an object seen from anywhere to its normal view, by a global and by local paths.

Paper: Huang et al., Beyond Face Rotation: Global and Local Perception GAN for Photorealistic and Identity Preserving
Frontal View Synthesis, arXiv 1704.04086, ICCV 2017.

Idea: one network reads the whole and places it, four read a part each and keep its detail; a last one joins what they
give to one image. The normal view of a training example is known, and six losses compare with it (section 3.2):

    G: l1 · (sum_s w_s |y - G(x)|_s + symmetry · |G(x) - mirror(G(x))| + variation · TV(G(x)) + parts · |y - P(x)|)
       + adversarial · -log D(x, G(x)) + identity · |f(y) - f(G(x))|                              (equations 4 to 9)

with |.|_s the distance of images halved s times, P what the local paths alone give, and f the features of a recogniser
that is trained on the normal views and their classes, so that the output remains recognisable.

Shapes: x ``(n, *source)`` any view and x_b ``(n, *target)`` the normal view of the same object, images; y ``(n,)`` the
class of the object, needed by the identity loss only.
Defaults: the scales' weights 1, 1 and 1.5, symmetry 0.3, parts 3 and total variation 0.001 of the authors' code, in
units of ``l1``; identity 10 if there are classes. Adam's rate and the game are pix2pix's, and so is ``l1``, because the
code's weight of the game belongs to sums over pixels.
Deviations: quarters of the image instead of patches at landmarks; a U-Net as global path, without noise; the recogniser
is trained along, not taken from elsewhere; the critic also sees the source; one critic update per generator update.

Use it for: bringing images of objects in many views to one view, before they are recognised or compared.
Not for: views that an affine map explains (a learned one reached .97 where this reached .82), or examples without a
known normal view (``cyclegan``). Set ``symmetry=0`` for objects whose normal view is not its own mirror image.

Symbols:
    G         ``generator``, ``ganlib.nn.two_paths.TwoPaths``
    P         ``generator.paths(x)[1]``
    D         ``game.critic``
    f         ``recogniser.features``
    w_s       ``config.scales``
    TV        ``variation`` of this module
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

from ganlib.adversarial import Sides
from ganlib.config import Share, Weight
from ganlib.data.spec import DataSpec, Image
from ganlib.errors import ConfigError
from ganlib.models.translation.pix2pix import Pix2Pix, Pix2PixConfig
from ganlib.nn.architecture import Headed, NetOptions, architecture
from ganlib.nn.two_paths import TwoPaths
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class TPGANConfig(Pix2PixConfig):
    """``scales``: weights of the distance at full size, a half, a quarter and so on; ``symmetry``, ``variation`` and
    ``parts`` (the local paths alone) are weights in units of ``l1``. ``identity`` weighs the recogniser's features;
    None: 10 if there are classes, otherwise 0. The rest is pix2pix's."""

    scales: tuple[Weight, ...] = (1.0, 1.0, 1.5)
    symmetry: Weight = 0.3
    variation: Weight = 1e-3
    parts: Weight = 3.0
    identity: Weight | None = None
    dropout: Share = 0.0


@register(
    "tp_gan",
    config=TPGANConfig,
    modalities=("image",),
    paper="Huang et al., Beyond Face Rotation: Global and Local Perception GAN for Photorealistic and Identity "
    "Preserving Frontal View Synthesis, arXiv 1704.04086, ICCV 2017",
    trainer={"batch_size": 16},
)
class TPGAN(Pix2Pix):
    """Players ``critic``, ``generator`` and, with an identity loss, ``recogniser``."""

    config: TPGANConfig
    generator: TwoPaths

    def __init__(self, spec: DataSpec, config: TPGANConfig) -> None:
        target = spec.need("x_b", Image)
        spec.need("x", Image)
        if config.identity and not spec.classes:
            raise ConfigError(
                "the identity loss needs the class of each example: give the field y of kind Classes, or set identity=0"
            )
        if min(target.shape[1:]) >> (len(config.scales) - 1) < 1:
            raise ConfigError(
                f"images of {' x '.join(map(str, target.shape[1:]))} cannot be halved {len(config.scales) - 1} times: "
                "give fewer scales"
            )
        super().__init__(spec, config)
        self.identity = (10.0 if spec.classes else 0.0) if config.identity is None else config.identity
        self.recogniser: Headed | None = None
        if self.identity:
            alike = DataSpec.of(target)
            trunk = architecture("auto", alike).trunk(target.shape, 0, NetOptions(width=config.width))
            self.recogniser = Headed(trunk, spec.classes)

    def network(self, source: tuple[int, ...], target: tuple[int, ...], options: NetOptions) -> nn.Module:
        """A global and four local U-Nets."""
        return TwoPaths(source, target, options)

    def players(self) -> dict[str, nn.Module]:
        """Pix2pix's, and the recogniser."""
        return super().players() | ({} if self.recogniser is None else {"recogniser": self.recogniser})

    def optimisers(self) -> dict[str, Optimiser]:
        """Those of the game; the recogniser's is the generator's."""
        given = super().optimisers()
        return given if self.recogniser is None else given | {"recogniser": given["generator"]}

    def phases(self) -> tuple[Phase, ...]:
        """The recogniser, then critic and generator."""
        first = () if self.recogniser is None else (Phase("recogniser", self.recogniser_loss),)
        return (*first, *super().phases())

    def _made(self, batch: Batch) -> Tensor:
        return torch.tanh(self._paths(batch)[0])

    def _paths(self, batch: Batch) -> tuple[Tensor, Tensor]:
        both: tuple[Tensor, Tensor] = batch.once("paths", lambda: self.generator.paths(batch.x), of=("generator",))
        return both

    def dealt(self, batch: Batch) -> Sides:
        """True normal views against generated ones, both beside their source."""
        return Sides(batch["x_b"], self.game.fakes(batch, lambda: self._made(batch)), condition=batch.x)

    def recogniser_loss(self, batch: Batch) -> Losses:
        """Cross-entropy of the classes of true normal views."""
        assert self.recogniser is not None
        return Losses(recogniser=cross_entropy(self.recogniser(batch["x_b"]), batch.y))

    def generator_loss(self, batch: Batch) -> Losses:
        """Fool the critic, and be right at all scales, in each part, and for the recogniser."""
        config, true = self.config, batch["x_b"]
        made, parts = self.game.made(batch, lambda: self._made(batch)), torch.tanh(self._paths(batch)[1])
        terms = {"l1": self.distance(made, true), "parts": (true - parts).abs().mean()}
        terms |= {"symmetry": (made - made.flip(3)).abs().mean(), "variation": variation(made)}
        weights = {"l1": 1.0, "parts": config.parts, "symmetry": config.symmetry, "variation": config.variation}
        weights = {name: config.l1 * weight for name, weight in weights.items()}
        if self.recogniser is not None:
            features = self.recogniser.features
            terms["identity"] = (features(made) - features(true).detach()).abs().mean()
            weights["identity"] = self.identity
        fooled = self.game.generator_loss(batch, Sides(true, made, condition=batch.x))
        return fooled | Losses(weights=weights, **terms)

    def distance(self, made: Tensor, true: Tensor) -> Tensor:
        """The mean absolute difference at each scale, weighted by ``scales``, a scalar."""
        found, gap = made.new_zeros(()), made - true
        for scale, weight in enumerate(self.config.scales):
            gap = avg_pool2d(gap, 2) if scale else gap
            found = found + weight * gap.abs().mean()
        return found


def variation(images: Tensor) -> Tensor:
    """Total variation: the mean absolute difference of neighbouring pixels, down and across, a scalar."""
    return images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()
