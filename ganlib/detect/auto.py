"""The automatic detector: several models fused, with no choice that labels would be needed for."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch

from ganlib.calibrate.conformal import as_scores
from ganlib.config import Count, Rate, Share, Whole
from ganlib.data.schema import Schema
from ganlib.data.spec import DataSpec
from ganlib.detect.base import BaseDetector, Part, Rows, detecting, locator_of
from ganlib.detect.fusion import Fusion, FusionConfig, scores_of
from ganlib.detect.members import MEMBERS, Member
from ganlib.detect.weights import LEAST_KNOWN
from ganlib.errors import ConfigError, DataError, DivergenceError
from ganlib.estimator import Seed, TrainerOptions
from ganlib.explain import mean_of
from ganlib.recipe import BUDGET, DETECTION, Training, seconds_of
from ganlib.registry import Entry, entry
from ganlib.training import History, Trainer, TrainerConfig

FENCE = 5.0  # distances from the median to the upper quartile, above the latter
MOST_SUSPECT = 0.1  # of the training rows
_ROUNDS = 12
_FOLDS, _FEW_ROWS, _FEW_VALUES = 5, 5_000, 5_000_000
_TEACHER = "histogram"
_LEAST_REFERENCE = 100
AUTO = Entry(
    name="auto", build=cast("Any", Fusion), config=FusionConfig, tasks=("detector",),
    modalities=("table", "image", "series"), paper="", exports=("scorer",), abilities=(), family="auto",
)  # fmt: skip
"""What an automatic detector presents in place of a model's entry; it is not registered."""


class AutoDetector(BaseDetector):
    """A fusion of detectors, the default of ``ganlib train``: ``ganlib.detect.fusion``.

    For tables: a histogram, a mixture of Gaussians, kernels at centroids, a denoising model of twice the weight, a
    variational auto-encoder and GANomaly. No weight depends on the data without labels: over 13 tables, AUROC against
    altered rows ranked models no better than chance. If ``y`` marks six anomalies or more, weights are fitted to them,
    and used if they are better on anomalies held out.

    Training rows may hold anomalies. Of tables, rows are dropped from training that a histogram of each column finds
    suspect: those whose score lies above the upper quartile by more than ``FENCE`` times the distance from there to the
    median, of scores with an exponential tail one in 128. The histogram is then fitted to the others and the rule
    applied again until no row changes; never more than a tenth is dropped. Source of the rule: the fences of Tukey,
    Exploratory Data Analysis, 1977, measured on the upper side alone since scores are skewed. ``contamination`` gives
    the share instead. Rows held out for p-values are not dropped: p-values are conservative where they hold anomalies.

    Parameters beside ``BaseDetector``'s ``epochs``, ``steps``, ``batch_size``, ``patience``, ``trainer`` (each of every
    member), ``alpha``, ``calibration_fraction``, ``validation_fraction``, ``schema``, ``group``, ``modality``,
    ``tile``, ``random_state``, ``device`` and ``verbose``:
    - ``members``: registry names of the models to fuse; ``None`` for those of the kind of data.
    - ``contamination``: the share of training rows to drop as suspect, ``"auto"`` for the rule above; 0 keeps all.
    - ``budget``: seconds for the training of all members, or words such as ``"30s"`` and ``"2min"``. Members that would
      not end in time are left out (the first never is), so the result depends on the machine. ``None``: no limit.

    Fitted attributes beside those of ``BaseDetector``: ``members_`` (weights by name), ``left_out_`` (reasons by name),
    ``dropped_`` (share of the training rows dropped), ``held_out_`` (mean AUPRC on known anomalies held out, with
    usual and with fitted weights; empty if fewer than six are known).
    """

    default_model = "auto"
    options: Mapping[str, Any] | None = None
    latent_dim: int | None = None
    hidden: tuple[int, ...] | None = None
    learning_rate: float | None = None

    # Editors and scikit-learn read signatures, which cannot be inherited and extended: a test compares the two.
    def __init__(
        self,
        members: Sequence[str] | None = None,
        *,
        contamination: Share | Literal["auto"] = "auto",
        budget: Rate | str | None = None,
        epochs: Count | None = None,
        steps: Count | None = None,
        batch_size: Count | None = None,
        patience: Whole | None = None,
        trainer: TrainerOptions = None,
        alpha: Part = 0.01,
        calibration_fraction: Part = 0.2,
        validation_fraction: Share = 0.1,
        schema: Schema | str | Path | None = None,
        group: str | None = None,
        modality: str | None = None,
        tile: Count | None = None,
        random_state: Seed = 0,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.members = members
        self.contamination = contamination
        self.budget = budget
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.patience = patience
        self.trainer = trainer
        self.alpha = alpha
        self.calibration_fraction = calibration_fraction
        self.validation_fraction = validation_fraction
        self.schema = schema
        self.group = group
        self.modality = modality
        self.tile = tile
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _entry(self) -> Entry:
        seconds_of(self.budget)
        named = [detecting(entry(name)) for name in self.members or ()]
        if self.members is not None and (not named or len(set(self.members)) < len(named)):
            raise ConfigError(f"members are one model or more, each once, not {list(self.members)}")
        kinds = tuple(kind for kind in AUTO.modalities if all(kind in model.modalities for model in named))
        if not kinds:
            raise ConfigError(f"no kind of data is read by all of {', '.join(self.members or ())}")
        return dataclasses.replace(AUTO, modalities=kinds)

    def _train(self, training: Training, spec: DataSpec, rows: Rows, anomalies: Any) -> np.ndarray | None:
        training.check_models(2)  # a checkpoint is of one training
        fit = self._fitting(spec, rows, training.seed)
        members, left_out = self._fit_members(fit)
        fitted = {name: member.scorer for name, member in members.items()}
        config = FusionConfig(
            members=tuple(fitted),
            weights=self._weights(fitted),
            left_out=tuple(f"{name}: {reason}" for name, reason in left_out.items()),
            dropped=1 - len(fit.train) / len(rows.train),
        )
        fusion = Fusion(fitted, fit.reference, config)
        if len(fitted) > 1 and len(anomalies) >= LEAST_KNOWN:
            self._weigh(fusion, anomalies, fit.reference)
        locator = self._locator(members, rows.held_out if len(rows.held_out) else rows.validation)
        histories = {name: member.history for name, member in members.items()}
        self._use(fusion, fusion, History.joined(histories), locator)
        self.members_ = dict(zip(fitted, fusion.config.weights, strict=True))
        self.left_out_, self.dropped_, self.held_out_ = left_out, config.dropped, fusion.config.held_out
        return self._cross_fitted(fit, fusion.config, fitted) if fit.folds else None

    def _fitting(self, spec: DataSpec, rows: Rows, seed: int) -> _Fitting:
        """The rows that members are fitted to, without suspect ones."""
        every = torch.cat([rows.train, rows.validation])
        fence, folds = self._fence(spec, every), self._folds(rows, len(every))
        keeps = fence.keeps(every)
        return _Fitting(
            spec, rows.train[keeps[: len(rows.train)]], rows.validation, seed, every[keeps], rows.held_out,
            fence.keeps(rows.held_out), folds,
        )  # fmt: skip

    def _folds(self, rows: Rows, trained: int) -> list[torch.Tensor]:
        """Which rows held out for calibration are scored by closed-form members that learn the others; none for many
        rows, which lose little by being held out, and with a budget of time. Runs are in one fold."""
        held_out = rows.held_out
        few = trained <= _FEW_ROWS and trained * rows.train[0].numel() <= _FEW_VALUES
        closed = any(member.closed for member in self._members())
        groups = np.arange(len(held_out)) if rows.runs is None else np.unique(rows.runs, return_inverse=True)[1]
        if not (few and closed) or self.budget is not None or len(np.unique(groups)) < _FOLDS:
            return []
        return [torch.as_tensor(groups % _FOLDS == fold) for fold in range(_FOLDS)]

    def _cross_fitted(self, fit: _Fitting, config: FusionConfig, fitted: Mapping[str, torch.nn.Module]) -> np.ndarray:
        """Scores of the rows held out, each by closed-form members that did not learn it."""
        scores = torch.zeros(len(fit.held_out), dtype=torch.float64)
        closed = [member for member in self._members() if member.closed and member.model in fitted]
        for fold in fit.folds:
            again = {m.model: self._fit_member(m, fit, fit.closed(without=fold), None).scorer for m in closed}
            fusion = copy.deepcopy(Fusion({**fitted, **again}, fit.reference, config)).double()
            scores[fold] = scores_of(fusion, fit.held_out[fold].double())
        return as_scores(scores.numpy())

    def _locator(self, members: Mapping[str, _Fitted], normal: torch.Tensor) -> torch.nn.Module | None:
        """The mean of what the members find in places; None if none does."""
        found = [member.locator for member in members.values() if member.locator is not None]
        if len(found) < 2 or not len(normal):
            return found[0] if found else None
        return mean_of(found, normal)

    def _weigh(self, fusion: Fusion, anomalies: Any, reference: torch.Tensor) -> None:
        """Fit the weights to known anomalies; warns if they cannot be read, since training does not need them."""
        try:
            known = self.reader_.read(anomalies)
        except DataError as error:
            warnings.warn(f"the known anomalies do not weigh the members: {error}", UserWarning, stacklevel=5)
        else:
            fusion.weigh(known, reference)

    def _fit_members(self, fit: _Fitting) -> tuple[dict[str, _Fitted], dict[str, str]]:
        """The members that could be trained, and why others were left out."""
        fitted, left_out = dict[str, _Fitted](), dict[str, str]()
        limit, start = seconds_of(self.budget), time.monotonic()
        for member in self._members():
            options = member.options(fit.spec, len(fit.train))
            if isinstance(options, str):
                left_out[member.model] = options
                continue
            until = None if limit is None or not fitted else start + limit
            try:
                rows = fit.closed() if member.closed else fit.train
                fitted[member.model] = self._fit_member(member, fit, rows, until)
            except _OutOfTimeError:
                left_out[member.model] = f"did not end within the budget of {limit:g} seconds"
            except DivergenceError as error:
                left_out[member.model] = f"diverged: {error}"
                warnings.warn(f"member {member.model} diverged and is left out: {error}", UserWarning, stacklevel=5)
        if not fitted:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
            raise DivergenceError(f"no member could be trained ({reasons})")
        return fitted, left_out

    def _weights(self, names: Iterable[str]) -> tuple[float, ...]:
        """The members' weights without labels."""
        known = {member.model: member.weight for member in self._members()}
        weights = [known[name] for name in names]
        return tuple(weight / sum(weights) for weight in weights)

    def _members(self) -> tuple[Member, ...]:
        usual = MEMBERS[self.reader_.modality]
        if self.members is None:
            return usual
        known = {member.model: member for member in usual}
        return tuple(known.get(name, Member(name)) for name in self.members)

    def _fit_member(self, member: Member, fit: _Fitting, x: torch.Tensor, until: float | None) -> _Fitted:
        options = cast("Mapping[str, Any]", member.options(fit.spec, len(fit.train)))
        model = entry(member.model)
        model = dataclasses.replace(model, trainer={**model.trainer, **member.trainer})
        training = Training.of(self, model, DETECTION, fit.seed)
        if member.steps is not None and not {*training.given, *training.trainer} & {*BUDGET}:
            training = dataclasses.replace(training, given={**training.given, "steps": member.steps})
        if until is not None:
            training = dataclasses.replace(training, callbacks=(*training.callbacks, _Deadline(until)))
        with torch.random.fork_rng():
            torch.manual_seed(fit.seed)
            algorithm = model.create(fit.spec, **{**self._options(model, fit.spec, x), **options})
        history = training.run(algorithm, {"x": x}, {"x": fit.validation})
        scorer = algorithm.scorer()  # type: ignore[operator]
        if not scores_of(scorer, torch.cat([x, fit.validation])).isfinite().all():
            raise DivergenceError("some training rows have no finite score")
        return _Fitted(scorer, history, locator_of(algorithm))

    def _fence(self, spec: DataSpec, x: torch.Tensor) -> _Fence:
        """What drops suspect rows, learned from training rows."""
        if not self.reader_.tabular or self.contamination == 0:
            return _Fence(None, math.inf)
        if self.contamination != "auto":
            teacher = self._teacher(spec, x)
            return _Fence(teacher, _above(scores_of(teacher, x), float(self.contamination)))
        kept = torch.ones(len(x), dtype=torch.bool)
        for _ in range(_ROUNDS):
            teacher, before = self._teacher(spec, x[kept]), kept
            scores = scores_of(teacher, x)
            fence = _Fence(teacher, _upper_fence(scores[kept]))
            kept = scores <= fence.limit
            if (~kept).float().mean() > MOST_SUSPECT:
                return _Fence(teacher, _above(scores, MOST_SUSPECT))
            if torch.equal(kept, before):
                break
        return fence

    def _teacher(self, spec: DataSpec, x: torch.Tensor) -> torch.nn.Module:
        """The scorer of a histogram of rows."""
        model = entry(_TEACHER)
        teacher = model.create(spec)
        Trainer(TrainerConfig.from_dict({**model.trainer, "device": self.device})).fit(teacher, {"x": x})
        return teacher.scorer()  # type: ignore[operator,no-any-return]


def _upper_fence(scores: torch.Tensor) -> float:
    """The score above which a row is suspect."""
    middle, high = np.quantile(scores.numpy(), [0.5, 0.75])  # torch's quantile ends at 2^24 values
    # Where most rows are alike the distance is 0, and every other row would count as suspect.
    return float(high + FENCE * (high - middle)) if high > middle else math.inf


def _above(scores: torch.Tensor, share: float) -> float:
    """The score that at most that share of rows exceeds."""
    return float(scores.sort(descending=True).values[min(round(share * len(scores)), len(scores) - 1)])


@dataclass(frozen=True)
class _Fence:
    """A scorer and the score above which a row is suspect; no scorer suspects no row."""

    teacher: torch.nn.Module | None
    limit: float

    def keeps(self, x: torch.Tensor) -> torch.Tensor:
        """Which rows are not suspect, a mask ``(n,)``."""
        if self.teacher is None or not len(x):
            return torch.ones(len(x), dtype=torch.bool)
        return scores_of(self.teacher, x) <= self.limit


@dataclass(frozen=True)
class _Fitting:
    """What all members are fitted with.

    Those trained by gradients learn ``train`` and stop by ``validation``; those in closed form learn ``unsuspected``,
    training and validation rows, and with ``folds`` also the rows held out that the fence ``keeps``.
    """

    spec: DataSpec
    train: torch.Tensor
    validation: torch.Tensor
    seed: int
    unsuspected: torch.Tensor
    held_out: torch.Tensor
    keeps: torch.Tensor
    folds: Sequence[torch.Tensor]

    @property
    def reference(self) -> torch.Tensor:
        """Normal rows for the members' scales: rows that they were trained on score lower, and are used if others are
        too few."""
        enough = len(self.validation) >= _LEAST_REFERENCE
        return self.validation if enough else torch.cat([self.train, self.validation])

    def closed(self, without: torch.Tensor | None = None) -> torch.Tensor:
        """The rows that members in closed form learn, all or ``without`` a fold."""
        if not self.folds:
            return self.unsuspected
        chosen = self.keeps if without is None else self.keeps & ~without
        return torch.cat([self.unsuspected, self.held_out[chosen]])


@dataclass(frozen=True)
class _Fitted:
    """What the training of a member leaves."""

    scorer: torch.nn.Module
    history: History
    locator: torch.nn.Module | None


class _OutOfTimeError(Exception):
    """The budget of time is spent."""


class _Deadline:
    """A callback that ends training at a moment of the monotonic clock."""

    def __init__(self, until: float) -> None:
        self.until = until

    def on_step(self, step: int, budget: int, losses: dict[str, float] | None) -> None:
        """Raise when the moment has passed."""
        if time.monotonic() > self.until:
            raise _OutOfTimeError

    def on_end(self) -> None:
        """Nothing to end."""
