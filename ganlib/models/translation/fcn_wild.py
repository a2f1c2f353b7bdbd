"""FCNs in the wild: a segmenter for a domain without labels.

Paper: Hoffman, Wang, Yu & Darrell, FCNs in the Wild: Pixel-level Adversarial and Constraint-based Adaptation,
arXiv 1612.02649, 2016. The constraints are those of Pathak et al., arXiv 1506.03648, 2015.

Idea: a fully convolutional network is trained on the labelled domain. Two terms carry it to the other one. A critic
that judges the features at each position must not recognise the domain, and each class must cover about as much of an
image as it does in the labelled domain:

    segmenter:  E L_y(y, labels(f(a))) + adversarial · (L_D + L_inv) / 2 + sizes · E KL(P(b) || Q(b))
    critic:     L_D = -E log D(f(a)) - E log(1 - D(f(b))),  the mean over positions too
    L_inv:      L_D with exchanged domains
    Q(b):       softmax labels(f(b))
    P(b):       the nearest distribution in which a class found in b covers from its mean share to its upper tenth, and
                a class not found nothing

Shares of a class are taken over the labelled images that hold it: the mean, and the bounds of the lower and the upper
tenth. A class counts as found if it is predicted for a tenth of its lower bound or more. Gradients of classes whose
lower bound is above 0.1 are multiplied by 0.1 in the last term, so that the others are not drowned.

Shapes: x ``(n, c, h, w)`` with label maps y int64 ``(n, h, w)`` from domain A, x_b ``(n, c, h, w)`` from domain B, in
no common order (``ganlib.models.translation.dann.with_target`` brings both to one length); even sides.
Defaults: the confusion of both losses, the bounds and their factors of 0.1 are the paper's, which states no weights;
slack 2 is a public reimplementation's. ``adversarial``, ``sizes`` and ``labels_first`` are ours: from the start and
with 0.1 and more for the game, some trainings lost the smallest class.
Deviations: a small network of dilated convolutions at half the resolution instead of VGG at an eighth; shares are those
of the last 1024 labelled images seen; after ``labels_first`` both terms rise as in `dann`; Adam 1e-3.

Use it for: segmenting images of a sensor, a site or a rendering without labels, with labels of another one, if classes
cover about as much of an image in both.
Not for: a change of brightness and contrast: moving images to the other domain's mean and deviation read .79 of scenes
whose look changed, adaptation .72, the labelled look alone .56 (mean intersection over union). Domains in which classes
cover other shares, since the constraints then pull towards wrong sizes (``sizes=0``; the critic alone read .63, the
sizes alone .73). Label maps of the domain itself: train a segmenter on them. Labels of whole images: `dann`.

Symbols:
    f            ``FCNWild.extractor``
    labels       ``FCNWild.labels``
    D            ``FCNWild.game``, whose critic scores each position high if it is from domain A
    L_D, L_inv   ``FCNWild.hiding_loss``
    P            ``ganlib.losses.label_sizes.constrained``
    shares       ``FCNWild.bounds`` of ``FCNWild.seen``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ganlib.adversarial import Game, Sides
from ganlib.config import Count, Share, Weight
from ganlib.data.spec import DataSpec, Image, LabelMap
from ganlib.errors import ConfigError
from ganlib.losses.label_sizes import constrained, shares
from ganlib.models.translation.dann import DomainAdversarial, DomainConfig, check_alike
from ganlib.nn.layers import norm_layer
from ganlib.nn.resize import Resize
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Losses

_KEPT = 1024  # labelled images whose shares are remembered
_TAIL, _LARGE = 0.1, 0.1  # a tenth of the images; the lower bound above which a class counts as large


@dataclass(frozen=True, kw_only=True)
class FCNWildConfig(DomainConfig):
    """``width``: channels of the first layer; ``critic_hidden``: widths of the critic's layers; ``label_hidden``: those
    of the label predictor at each position. ``sizes`` weighs the constraints on classes' sizes, 0 for none; ``slack``
    bounds how hard a class is pulled up to its mean share; ``large_share``: factor on the constraints' gradients of
    large classes. ``labels_first``: share of training before the game and the sizes begin. ``objective``: the critic's
    loss. Tricks of a generator's side are rejected."""

    objective: Literal["gan"] = "gan"
    width: Count = 16
    label_hidden: tuple[Count, ...] = ()
    critic_hidden: tuple[Count, ...] = (64,)
    sizes: Weight = 1.0
    adversarial: Weight = 0.03
    slack: Weight = 2.0
    labels_first: Share = 0.5
    large_share: Weight = 0.1


class Dilated(nn.Module):
    """Images ``(n, c, h, w)`` to features ``(n, 2 · width, h / 2, w / 2)``, each of a field of 21 pixels."""

    def __init__(self, channels: int, width: int, norm: str) -> None:
        super().__init__()
        layers = list[nn.Module]()
        for before, after, stride, dilation in (
            (channels, width, 1, 1),
            (width, 2 * width, 2, 1),
            (2 * width, 2 * width, 1, 2),
            (2 * width, 2 * width, 1, 2),
        ):
            layers += [nn.Conv2d(before, after, 3, stride, dilation, dilation)]
            layers += [] if norm == "none" else [norm_layer(norm, after, 2)]
            layers += [nn.ReLU()]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Features."""
        return self.body(x)


def by_position(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    """An MLP at each position: convolutions of one pixel."""
    layers = list[nn.Module]()
    for width in hidden:
        layers += [nn.Conv2d(inputs, width, 1), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Conv2d(inputs, outputs, 1))


@register(
    "fcn_wild",
    config=FCNWildConfig,
    modalities=("image",),
    paper="Hoffman, Wang, Yu & Darrell, FCNs in the Wild: Pixel-level Adversarial and Constraint-based Adaptation, "
    "arXiv 1612.02649, 2016",
    trainer={"batch_size": 32},
)
class FCNWild(DomainAdversarial):
    """Players ``critic`` and ``classifier`` (feature extractor and label predictor)."""

    config: FCNWildConfig
    seen: Tensor
    place: Tensor

    def __init__(self, spec: DataSpec, config: FCNWildConfig) -> None:
        super().__init__(spec, config)
        image, target = spec.need("x", Image), spec.need("y", LabelMap)
        _check(spec, image, target)
        half, width = (image.height // 2, image.width // 2), 2 * config.width
        self.extractor = Dilated(image.channels, config.width, config.norm)
        self.labels = nn.Sequential(by_position(width, config.label_hidden, target.labels), Resize(half, target.shape))
        critic = by_position(width, config.critic_hidden, 1)
        field = Image(width, *half)
        self.game = Game(critic, config, field, generator=self.extractor, against="classifier")
        self.game.rules.reject(
            "feature_matching", "historical_averaging", "unrolled_steps",
            why="fcn_wild's features confuse the critic instead of playing the generator's side",
        )  # fmt: skip
        self.register_buffer("seen", torch.zeros(_KEPT, target.labels))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    # ---------------------------------------------------------------- use
    def segment(self, x: Tensor) -> Tensor:
        """The most probable class of each pixel, ``(n, h, w)``, of images of either domain."""
        return self.class_logits(x).argmax(1)

    def encode(self, x: Tensor) -> Tensor:
        """The mean feature of each image, ``(n, 2 · width)``."""
        return self.extractor(x).mean((2, 3))

    # ---------------------------------------------------------------- training
    def strength(self) -> Tensor:
        """The weight of the game and of the sizes as a share of their largest: 0 while labels alone are learned."""
        first = self.config.labels_first
        share = ((self.done / self.budget - first) / (1 - first)).clamp(0, 1)
        return 2 / (1 + torch.exp(-self.config.rise * share)) - 1

    def bounds(self) -> tuple[Tensor, Tensor, Tensor]:
        """Lower tenth, mean and upper tenth of each class's share of the labelled images that hold it; 0 if none."""
        held = self.seen.masked_fill(self.seen == 0, torch.nan)
        ends = torch.tensor([_TAIL, 1 - _TAIL], device=held.device)
        lower, upper = torch.nanquantile(held, ends, dim=0).nan_to_num()
        return lower, held.nanmean(0).nan_to_num(), upper

    def hiding_loss(self, batch: Batch, sides: Sides) -> Losses:
        """Half the critic's loss and half that of exchanged domains, smallest for a critic that cannot choose."""
        confused = torch.stack([
            (softplus(score) + softplus(-score)).mean()
            for score in (self.game.judge(batch, features) for features in (sides.real, sides.made))
        ])  # fmt: skip
        return Losses(weights={"confusion": self.config.adversarial}, confusion=confused.sum() / 2)

    def classifier_loss(self, batch: Batch) -> Losses:
        """Labels of domain A, the game, and the sizes of classes in domain B."""
        losses = super().classifier_loss(batch)
        if not self.config.sizes:
            return losses
        self._remember(batch)
        distance = self.strength() * self.size_loss(self.labels(self.features(batch)[1]))
        return losses | Losses(weights={"sizes": self.config.sizes}, sizes=distance)

    @torch.no_grad()
    def _remember(self, batch: Batch) -> None:
        """Keep the shares of this batch's label maps in place of the oldest."""
        new = shares(batch.y, self.seen.shape[1])[:_KEPT]
        rows = (self.place + torch.arange(len(new), device=new.device)) % _KEPT
        self.seen[rows] = new
        self.place.add_(len(new)).remainder_(_KEPT)

    def size_loss(self, logits: Tensor) -> Tensor:
        """KL of predictions for domain B to the nearest ones of allowed sizes, per pixel; ``logits (n, k, h, w)``."""
        lower, mean, upper = self.bounds()
        logits = logits.float()
        found = shares(logits.argmax(1), logits.shape[1])
        present = (found >= _TAIL * lower) & (found > 0) & (upper > 0)
        likely = logits.detach().softmax(1).mean((2, 3)).masked_fill(upper == 0, -1).argmax(1, keepdim=True)
        present = present.scatter(1, likely, True)
        wanted = constrained(logits, present, mean, upper, self.config.slack)
        weight = torch.where(lower > _LARGE, self.config.large_share, 1.0)[:, None, None]
        logits = weight * logits + (1 - weight) * logits.detach()
        return (torch.xlogy(wanted, wanted) - wanted * logits.log_softmax(1)).sum(1).mean()

    def couples_batch(self) -> str:
        """What the game couples, batch norm, or remembered shares."""
        return super().couples_batch() or ("shares of classes in earlier batches" if self.config.sizes else "")


def _check(spec: DataSpec, image: Image, target: LabelMap) -> None:
    """Raise ConfigError unless images of both domains and label maps have one size of even sides."""
    check_alike(spec)
    if target.shape != image.shape[1:] or target.labels < 2:
        raise ConfigError(
            f"fcn_wild predicts one of two or more labels for each pixel: images have {image.shape[1:]}, label maps "
            f"{target.shape} with {target.labels}: bring them to one size, 'y': LabelMap(labels, height, width)"
        )
    if image.height % 2 or image.width % 2:
        raise ConfigError(f"fcn_wild halves images once, and {image.shape[1:]} has an odd side: crop or pad one pixel")
