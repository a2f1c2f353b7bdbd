"""What synthetic rows reveal about the rows that their generator learned from, beside what other real rows reveal.

Rows are encoded as numbers of one scale: standardised numbers, one-hot categories. ``train`` holds the rows that the
generator learned from, ``holdout`` real rows of the same kind that it did not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ganlib.errors import DataError
from ganlib.metrics.rows import nearest_distances, row_numbers
from ganlib.metrics.two_sample import as_pair

NEAR = 0.05
Rows = np.ndarray | Tensor


@dataclass(frozen=True)
class NearestRecords:
    """How near synthetic rows are to training rows; each figure beside the held-out rows' (``usual_...``).

    ``share``: of rows at most as far from a training row as the nearest 5 % of held-out rows. ``distance``: the median
    distance to the nearest training row. ``ratio``: the median of the distance to the nearest over that to the second
    nearest, in [0, 1]; low if one single row was repeated. ``ratio_share``: of rows with at most the ratio that the
    lowest 5 % of held-out rows have. The usual shares are 5 %, or more if distances are equal.
    """

    share: float
    usual_share: float
    distance: float
    usual_distance: float
    ratio: float
    usual_ratio: float
    ratio_share: float
    usual_ratio_share: float


def nearest_records(train: Rows, synthetic: Rows, holdout: Rows, weights: np.ndarray | None = None) -> NearestRecords:
    """Distances to the closest training record, and their ratios, of synthetic rows and of held-out rows.

    ``train`` ``(n, d)``, ``synthetic`` ``(m, d)``, ``holdout`` ``(h, d)``; ``weights`` ``(m,)`` count synthetic rows in
    the shares, one each if None. Exact Euclidean search. Two training rows at distance 0 have the ratio 1, because no
    single row was repeated. A generator that repeats training rows has a share near 1, one without memory the usual
    share; a share below it means rows far from all real ones.

    Source: distance to the closest record and nearest-neighbour distance ratio, Zhao et al., CTAB-GAN, 2102.08369;
    unlike there, against held-out rows. Raises DataError for fewer than 2 training rows or 1 other row, mismatched or
    non-finite values.
    """
    reals, made = as_pair(("train", "synthetic"), train, synthetic)
    _, held = as_pair(("train", "holdout"), train, holdout)
    if len(reals) < 2:
        raise DataError("train has 1 row: a nearest and a second nearest row need 2")
    near, usual = nearest_distances(made, reals, 2), nearest_distances(held, reals, 2)
    ratios, usual_ratios = _ratios(near), _ratios(usual)
    bound, ratio_bound = np.quantile(usual[:, 0], NEAR), np.quantile(usual_ratios, NEAR)
    return NearestRecords(
        _share(near[:, 0] <= bound, weights), _share(usual[:, 0] <= bound),
        float(np.median(near[:, 0])), float(np.median(usual[:, 0])),
        float(np.median(ratios)), float(np.median(usual_ratios)),
        _share(ratios <= ratio_bound, weights), _share(usual_ratios <= ratio_bound),
    )  # fmt: skip


def _ratios(pairs: np.ndarray) -> np.ndarray:
    first, second = pairs.T
    return np.where(second > 0, first / np.where(second > 0, second, 1.0), 1.0)


def _share(found: np.ndarray, weights: np.ndarray | None = None) -> float:
    return float(np.average(found, weights=weights))


def copied(train: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which of ``rows`` ``(m, d)`` equal a row of ``train`` ``(n, d)`` in every value, bool ``(m,)``.

    Numbers (NaN equals NaN) or strings. Raises DataError for arrays of different widths.
    """
    if train.ndim != 2 or rows.ndim != 2 or train.shape[1] != rows.shape[1]:
        raise DataError(f"train has shape {train.shape}, rows {rows.shape}: give both the same columns")
    known, found = row_numbers(train, rows)
    return np.isin(found, known)


@dataclass(frozen=True)
class Membership:
    """How well an attacker separates training rows from other real rows, who knows the synthetic rows alone.

    ``auroc``: 0.5 is chance, with the standard error ``error`` under chance. ``found_1`` and ``found_10``: shares of
    training rows found at no more than 1 % and 10 % false alarms; chance is 0.01 and 0.1.
    """

    auroc: float
    found_1: float
    found_10: float
    error: float


def membership_attack(members: Rows, others: Rows, synthetic: Rows, reference: Rows | None = None) -> Membership:
    """Membership inference by distance: a row near to a synthetic one is taken for a training row.

    ``members`` ``(n, d)`` are training rows, ``others`` ``(h, d)`` real rows that are not. The score is minus the
    distance s to the nearest row of ``synthetic`` ``(m, d)``. With ``reference`` ``(r, d)``, further real rows at
    distance r, it is r / (r + s): rows that are near to any rows are then not taken for members.

    Source: Chen et al., GAN-Leaks, 1909.03935 (distance); van Breugel et al., 2302.12580 (relative to a reference; with
    distances instead of densities); Carlini et al., 2112.03570 (shares at few false alarms). Raises DataError for no
    rows, mismatched or non-finite values.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    inside, made = as_pair(("members", "synthetic"), members, synthetic)
    outside, _ = as_pair(("others", "synthetic"), others, synthetic)
    rows = np.concatenate([inside, outside])
    scores = -nearest_distances(rows, made)[:, 0]
    if reference is not None:
        usual = nearest_distances(rows, as_pair(("members", "reference"), members, reference)[1])[:, 0]
        scores = np.where(usual > scores, usual / np.where(usual > scores, usual - scores, 1.0), 0.5)
    truth = np.repeat([1, 0], [len(inside), len(outside)])
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    few, some = (float(true[false <= limit].max()) for limit in (0.01, 0.1))
    error = float(np.sqrt((len(rows) + 1) / (12 * len(inside) * len(outside))))
    return Membership(float(roc_auc_score(truth, scores)), few, some, error)


@dataclass(frozen=True)
class CanaryTest:
    """Whether synthetic rows come nearer to planted rows than to rows of the same kind that were not planted.

    ``p_value``: the chance of so low ranks of the planted rows' distances if planting changed nothing. ``auroc``: the
    chance that a planted row is nearer than an absent one; 0.5 is no memory, 1 all found. ``planted`` and ``absent``:
    median distances to the nearest synthetic row.
    """

    p_value: float
    auroc: float
    planted: float
    absent: float


def canary_test(planted: Rows, absent: Rows, synthetic: Rows) -> CanaryTest:
    """One-sided rank test of the distances from planted and from absent rows to the nearest synthetic row.

    ``planted`` ``(k, d)`` were among the training rows of the generator of ``synthetic`` ``(m, d)``; ``absent``
    ``(l, d)`` were chosen in the same way and were not. The test is that of Mann and Whitney as in scipy: exact without
    ties for up to 8 rows a side, else by its normal approximation.

    Source: planted canaries are from Carlini et al., The Secret Sharer, 1802.08232; ranks of distances take the place
    of ranks of likelihoods. Raises DataError for no rows, mismatched or non-finite values.
    """
    from scipy.stats import mannwhitneyu

    inside, made = as_pair(("planted", "synthetic"), planted, synthetic)
    outside, _ = as_pair(("absent", "synthetic"), absent, synthetic)
    near, far = nearest_distances(inside, made)[:, 0], nearest_distances(outside, made)[:, 0]
    found = mannwhitneyu(near, far, alternative="less")
    auroc = 1 - float(found.statistic) / (len(near) * len(far))
    return CanaryTest(float(found.pvalue), auroc, float(np.median(near)), float(np.median(far)))
