"""How good translations are, on examples that were held out, beside what it costs nothing to do."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d

from ganlib.abilities import TranslatesBack, can
from ganlib.data.readers import Reader, TableReader
from ganlib.errors import DataError
from ganlib.metrics.two_sample import two_sample_auroc
from ganlib.translate.translator import Translator, written

TRANSLATED, UNTRANSLATED, MOMENTS = "translated", "untranslated", "moments matched"
NEAREST, AVERAGE = "nearest example", "average example"
SEPARATED = "full separation"  # the AUROC of 1
CYCLE, ANOTHER = "after the way there and back", "another example"
L1 = "mean difference from the true counterpart"
AUROC = "AUROC of a classifier, translated against real"
MOST, MOST_NUMBERS = 500, 256  # examples and numbers of each that the classifier reads
LEAST, FOLDS = 10, 3
Domains = tuple[Any, Any]


@dataclass(frozen=True)
class Measured:
    """Figures of ``measure``, lower is better, of translations and of baselines that the data allow.

    - ``cycle``: the mean difference of examples from themselves after the way there and back, beside that of two
      different examples; empty for a model of one direction.
    - ``saved``: what translation takes off the figure of ``baseline``. Of a difference the share of it, so that 1 is
      perfect; of an AUROC the number itself. Below 0, the baseline is better.

    Differences are in units of the encoded data: images lie in [-1, 1], channels of series and columns of numbers have
    deviations of about 1.
    """

    measure: str
    figures: Mapping[str, float]
    baseline: str
    saved: float
    cycle: Mapping[str, float] = field(default_factory=dict)


def measure_translation(
    translator: Translator, train: Domains, test: Domains, pairs: bool | None = None, seed: int = 0
) -> Measured:
    """Measure the way to domain b on held-out examples of both domains, ``test``; baselines learn from ``train``.

    - With ``pairs`` (``None``: if the model learns from pairs), examples are in one order. The figure is the mean
      difference of a translation from the true counterpart. Baselines are the untranslated example, the counterpart of
      the training example that is nearest to it, and the average counterpart of the training examples.
    - Without, the figure is the AUROC of a classifier that separates translations from real examples of domain b, a
      forest for tables and a network of one hidden layer for images and series: 0.5 if it cannot. Baselines are the
      untranslated examples, and these with the mean and deviation of each value moved to those of domain b. A generator
      that ignores its input would reach 0.5 as well: see ``cycle``.

    The untranslated example is a baseline only if it can be read as one of domain b. Raises DataError for fewer than 10
    held-out examples of a domain, or one pair.
    """
    source, target, _ = translator.way("b")
    paired = bool(getattr(translator.algorithm_, "paired", False)) if pairs is None else pairs
    if min(map(len, test)) < (1 if paired else LEAST):
        raise DataError(f"translations are measured on {LEAST} held-out examples of each domain, or on pairs; add data")
    made, real = _read(target, translator.translate(test[0])), _read(target, test[1])
    as_target = _as_target(source, target, test[0])
    arms = {TRANSLATED: made} | ({} if as_target is None else {UNTRANSLATED: as_target})
    if paired:
        mates = _read(target, train[1])
        arms[NEAREST] = _nearest(source, train[0], mates, test[0])
        arms[AVERAGE] = mates.mean(0, keepdim=True)
        figures = {name: float((values - real).abs().mean()) for name, values in arms.items()}
    else:
        if as_target is not None:
            arms[MOMENTS] = _moments(source, target, train, test[0])
        rng = np.random.default_rng(seed)
        order, real = rng.permutation(len(made))[:MOST], real[rng.permutation(len(real))[:MOST]]
        # A forest would recognise a translated image by grey levels that no file holds.
        model = "forest" if target.tabular else "neural"
        figures = {name: _separated(values[order], real, model) for name, values in arms.items()}
    cycle = _cycle(translator, source, test[0])
    if paired:
        baseline = UNTRANSLATED if UNTRANSLATED in figures else NEAREST
        saved = 1 - figures[TRANSLATED] / figures[baseline] if figures[baseline] else 0.0
        return Measured(L1, figures, baseline, saved, cycle)
    baseline = UNTRANSLATED if UNTRANSLATED in figures else SEPARATED
    return Measured(AUROC, figures, baseline, figures.get(UNTRANSLATED, 1.0) - figures[TRANSLATED], cycle)


def _read(reader: Reader, examples: Any) -> Tensor:
    """Examples for the network."""
    return reader.read(reader.again(examples) if reader.tabular else examples)


def _as_target(source: Reader, target: Reader, examples: Any) -> Tensor | None:
    """Examples of domain a as those of domain b; None if these have other axes, types or columns.

    Images are compared in [-1, 1], whatever their files hold; columns and series keep their units.
    """
    if source.modality == "image":
        return _read(source, examples) if source.spec.shape == target.spec.shape else None
    try:
        return _read(target, examples)
    except DataError:
        return None


def _separated(made: Tensor, real: Tensor, model: str) -> float:
    """The AUROC at which a classifier separates both."""
    return two_sample_auroc(_coarse(real).numpy(), _coarse(made).numpy(), model=model, folds=FOLDS)


def _coarse(x: Tensor) -> Tensor:
    """Examples of at most ``MOST_NUMBERS`` numbers: means over neighbouring pixels or steps of larger ones."""
    while x.dim() > 2 and x[0].numel() > MOST_NUMBERS and max(x.shape[2:]) > 1:
        half = [max(1, side // 2) for side in x.shape[2:]]
        x = adaptive_avg_pool2d(x, (half[0], half[1])) if len(half) == 2 else adaptive_avg_pool1d(x, half[0])
    return x.flatten(1)


def _nearest(source: Reader, train: Any, mates: Tensor, judged: Any) -> Tensor:
    """The counterparts of the training examples that are nearest to those judged."""
    known, wanted = (_coarse(_read(source, examples)) for examples in (train, judged))
    return mates[torch.cat([torch.cdist(part, known).argmin(1) for part in wanted.split(MOST)])]


def _moments(source: Reader, target: Reader, train: Domains, judged: Any) -> Tensor:
    """Examples of domain a, each pixel, step or numeric column with the mean and deviation that it has in domain b."""
    if isinstance(target, TableReader):
        raw, a, b = (target.feeds(target.again(frame)) for frame in (judged, *train))
        numbers = [code.input for code in target.encoder.codes if code.kind in ("number", "integer")]
        return torch.from_numpy(target.encode(raw | {name: _moved(raw[name], a[name], b[name]) for name in numbers}))
    here, there = (_as_target(source, target, examples) for examples in (judged, train[0]))
    assert here is not None and there is not None  # they are baselines only if they can be read
    moved = _moved(*(x.double().numpy() for x in (here, there, _read(target, train[1]))))
    return _read(target, written(target, torch.from_numpy(moved).float()))


def _moved(x: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Values with the moments of ``a``, given those of ``b``; missing ones are left out of both."""
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a column without any value
        (low, wide), (middle, span) = ((np.nanmean(v, 0), np.nanstd(v, 0)) for v in (a, b))
    return (x - low) / np.maximum(wide, 1e-6) * span + middle


def _cycle(translator: Translator, source: Reader, judged: Any) -> dict[str, float]:
    if not can(translator.algorithm_, TranslatesBack):
        return {}
    x = _read(source, judged)
    back = _read(source, translator.translate(translator.translate(judged), to="a"))
    return {CYCLE: float((back - x).abs().mean()), ANOTHER: float((x.roll(1, 0) - x).abs().mean())}
