"""The registry of metrics: what each number measures, its range, whether higher is better, and its source."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ganlib.errors import ConfigError

BETTER = ("higher", "lower", "nearer")


@dataclass(frozen=True)
class Metric:
    """One number: ``better`` is "higher", "lower" or "nearer": to ``ideal``; None is the value of the real data.

    ``function`` computes it, "module.function" below ``ganlib.metrics``; ``field`` names the value in the function's
    result, empty if the result is the number itself. ``low`` and ``high`` are bounds of the value.
    """

    name: str
    measures: str
    low: float
    high: float
    better: str
    source: str
    function: str
    field: str = ""
    ideal: float | None = None


_NEAREST = "nearest neighbours as in Goodfellow et al., 1406.2661"
_KYNKAANNIEMI = "Kynkäänniemi et al., 1904.06991"
_MODES = "Srivastava et al., VEEGAN, 1705.07761"
_NAEEM = "Naeem et al., 2002.09797"
_PRDC = "features.precision_recall_density_coverage"
_TSTR = "Esteban et al., 1706.02633"

_NEAREST_RECORDS = ("Zhao et al., CTAB-GAN, 2102.08369", "privacy.nearest_records")
_LEAKS = "Chen et al., GAN-Leaks, 1909.03935"
_FALSE_ALARMS = "Carlini et al., 2112.03570"

_ROWS = (
    Metric(
        "auroc",
        "how well scores rank anomalies above normal rows; 0.5 is chance",
        0.0,
        1.0,
        "higher",
        "Hanley and McNeil, Radiology 143, 1982",
        "detection.auroc",
    ),
    Metric(
        "auprc",
        "average precision of an anomaly ranking; the anomalies' share is chance",
        0.0,
        1.0,
        "higher",
        "Davis and Goadrich, ICML 2006",
        "detection.auprc",
    ),
    Metric(
        "modes_found",
        "modes of a known mixture that a generator reaches",
        0.0,
        math.inf,
        "higher",
        _MODES,
        "mixtures.mode_report",
        "found",
    ),
    Metric(
        "high_quality_share",
        "share of points within three deviations of a mode",
        0.0,
        1.0,
        "higher",
        _MODES,
        "mixtures.mode_report",
        "high_quality",
    ),
    Metric(
        "mode_kl",
        "unevenness over the modes, nats",
        0.0,
        math.inf,
        "lower",
        "Lin et al., PacGAN, 1712.04086",
        "mixtures.mode_report",
        "kl",
    ),
    Metric(
        "c2st",
        "held-out accuracy of distinguishing real from fake",
        0.0,
        1.0,
        "nearer",
        "Lopez-Paz and Oquab, 1610.06545",
        "two_sample.classifier_two_sample",
        "accuracy",
        0.5,
    ),
    Metric(
        "c2st_auroc",
        "held-out AUROC of a classifier of real and fake",
        0.0,
        1.0,
        "nearer",
        "Lopez-Paz and Oquab, 1610.06545, 2017",
        "two_sample.two_sample_auroc",
        "",
        0.5,
    ),
    Metric(
        "mmd",
        "squared kernel distance of two samples, unbiased",
        -2.0,
        2.0,
        "lower",
        "Gretton et al., JMLR 13, 2012, equation 3",
        "two_sample.kernel_mmd",
    ),
    Metric(
        "mmd_p_value",
        "chance of so large an MMD² if both samples have one law",
        0.0,
        1.0,
        "higher",
        "Gretton et al., JMLR 13, 2012, section 5",
        "two_sample.mmd_test",
        "p_value",
    ),
    Metric(
        "energy_distance",
        "distance of two samples without a width to choose, unbiased",
        -math.inf,
        math.inf,
        "lower",
        "Székely and Rizzo, J. Stat. Plan. Inference 143, 2013",
        "two_sample.energy_distance",
    ),
    Metric(
        "frechet_distance",
        "distance of Gaussians fitted to features",
        0.0,
        math.inf,
        "lower",
        "Heusel et al., 1706.08500, equation 6",
        "features.frechet_distance",
    ),
    Metric(
        "pca_frechet",
        "the same on the reals' principal components",
        0.0,
        math.inf,
        "lower",
        "Heusel et al., 1706.08500, equation 6",
        "features.pca_frechet",
    ),
    Metric("precision", "share of fakes where reals lie", 0.0, 1.0, "higher", _KYNKAANNIEMI, _PRDC, "precision"),
    Metric("recall", "share of reals where fakes lie", 0.0, 1.0, "higher", _KYNKAANNIEMI, _PRDC, "recall"),
    Metric("density", "how densely reals surround the fakes", 0.0, math.inf, "higher", _NAEEM, _PRDC, "density"),
    Metric("coverage", "share of reals that have a fake nearby", 0.0, 1.0, "higher", _NAEEM, _PRDC, "coverage"),
    Metric(
        "classifier_score",
        "certain classes in each image, even classes overall",
        1.0,
        math.inf,
        "higher",
        "Salimans et al., 1606.03498, section 4",
        "features.classifier_score",
    ),
    Metric(
        "class_consistency",
        "share of fakes in the requested class",
        0.0,
        1.0,
        "higher",
        "Odena et al., 1610.09585",
        "classes.class_consistency",
    ),
    Metric(
        "class_diversity",
        "spread of a class's fakes over that of its reals, per class",
        0.0,
        math.inf,
        "nearer",
        "Odena et al., 1610.09585",
        "classes.class_diversity",
        ideal=1.0,
    ),
    Metric(
        "tstr",
        "accuracy on real rows after training on synthetic ones",
        0.0,
        1.0,
        "higher",
        _TSTR,
        "classes.train_on_synthetic",
        "tstr",
    ),
    Metric(
        "trtr",
        "accuracy on real rows after training on real ones",
        0.0,
        1.0,
        "higher",
        _TSTR,
        "classes.train_on_synthetic",
        "trtr",
    ),
    Metric(
        "rare_class_gain",
        "recall of a rare class gained over copies and interpolation",
        -1.0,
        1.0,
        "higher",
        "Chawla et al., SMOTE, 1106.1813",
        "classes.rare_class_recall",
        "gain",
    ),
    Metric(
        "sharpness",
        "variance of the Laplacian",
        0.0,
        math.inf,
        "nearer",
        "Pech-Pacheco et al., ICPR 2000",
        "images.sharpness",
    ),
    Metric(
        "sharpness_ratio",
        "sharpness of fakes over that of reals",
        0.0,
        math.inf,
        "nearer",
        "Pech-Pacheco et al., ICPR 2000",
        "images.sharpness_ratio",
        ideal=1.0,
    ),
    Metric(
        "nearest_real_ratio",
        "distance to the nearest training row over that among training rows",
        0.0,
        math.inf,
        "nearer",
        _NEAREST,
        "images.nearest_real",
        "ratio",
        1.0,
    ),
    Metric(
        "nearest_real_closer",
        "share of fakes closer to a training row than 95% of training rows are",
        0.0,
        1.0,
        "nearer",
        _NEAREST,
        "images.nearest_real",
        "closer",
        0.05,
    ),
    Metric("copied", "rows that equal a training row", 0.0, 1.0, "lower", _LEAKS, "privacy.copied"),
    Metric(
        "near_record_share",
        "share of rows nearer to a training row than 5% of held-out rows are",
        0.0,
        1.0,
        "nearer",
        *_NEAREST_RECORDS,
        "share",
        0.05,
    ),
    Metric(
        "neighbour_ratio_share",
        "share of rows with a lower ratio of nearest to second nearest than 5% of held-out rows",
        0.0,
        1.0,
        "nearer",
        *_NEAREST_RECORDS,
        "ratio_share",
        0.05,
    ),
    Metric(
        "membership_auroc",
        "how well an attacker separates training rows from held-out rows by the nearest synthetic row",
        0.0,
        1.0,
        "nearer",
        _LEAKS,
        "privacy.membership_attack",
        "auroc",
        0.5,
    ),
    Metric(
        "membership_found_1",
        "training rows that the attacker finds at 1% false alarms",
        0.0,
        1.0,
        "nearer",
        _FALSE_ALARMS,
        "privacy.membership_attack",
        "found_1",
        0.01,
    ),
    Metric(
        "membership_found_10",
        "training rows that the attacker finds at 10% false alarms",
        0.0,
        1.0,
        "nearer",
        _FALSE_ALARMS,
        "privacy.membership_attack",
        "found_10",
        0.1,
    ),
    Metric(
        "canary_p_value",
        "chance of planted rows so near to synthetic ones without memory",
        0.0,
        1.0,
        "higher",
        "Carlini et al., The Secret Sharer, 1802.08232",
        "privacy.canary_test",
        "p_value",
    ),
    Metric(
        "ks_complement",
        "1 minus the largest gap of two distribution functions",
        0.0,
        1.0,
        "higher",
        "Massey, JASA 46, 1951",
        "fidelity.ks_complement",
    ),
    Metric(
        "tv_complement",
        "1 minus the total variation distance of two columns of levels",
        0.0,
        1.0,
        "higher",
        "Levin and Peres, Markov Chains and Mixing Times, 2017",
        "fidelity.tv_complement",
    ),
    Metric(
        "contingency_similarity",
        "1 minus the total variation distance of combinations of levels",
        0.0,
        1.0,
        "higher",
        "Patki et al., DSAA 2016",
        "fidelity.contingency_similarity",
    ),
    Metric(
        "correlation_similarity",
        "1 minus half the difference of two rank correlations",
        0.0,
        1.0,
        "higher",
        "Patki et al., DSAA 2016",
        "fidelity.correlation_similarity",
    ),
    Metric(
        "steepest_slope",
        "a critic's largest gradient norm at given points, below its Lipschitz constant",
        0.0,
        math.inf,
        "nearer",
        "Gulrajani et al., 1704.00028, proposition 1",
        "slopes.steepest_slope",
        ideal=1.0,
    ),
    Metric(
        "lipschitz_bound",
        "product of a feed-forward critic's layer norms, above its Lipschitz constant",
        0.0,
        math.inf,
        "nearer",
        "Szegedy et al., 1312.6199, section 4.3",
        "slopes.lipschitz_bound",
        ideal=1.0,
    ),
)

METRICS = {row.name: row for row in _ROWS}


def metric(name: str) -> Metric:
    """The row of one metric; raises ConfigError with the known names."""
    if name not in METRICS:
        raise ConfigError(f"unknown metric {name!r}: one of {', '.join(sorted(METRICS))}")
    return METRICS[name]
