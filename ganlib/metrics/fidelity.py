"""How far the columns of synthetic rows, and pairs of them, are distributed as those of real rows; 1 is equally."""

from __future__ import annotations

import numpy as np

from ganlib.errors import DataError
from ganlib.metrics.rows import row_numbers


def ks_complement(real: np.ndarray, synthetic: np.ndarray) -> float:
    """1 minus the largest gap of the distribution functions of two samples of numbers ``(n,)`` and ``(m,)``; in [0, 1].

    Missing values (NaN) are left out.

    Source: the statistic of Kolmogorov and Smirnov, Massey, JASA 46, 1951. Raises DataError if a sample holds no
    numbers.
    """
    from scipy.stats import ks_2samp

    first, second = _numbers("real", real), _numbers("synthetic", synthetic)
    return 1 - float(ks_2samp(first, second, method="asymp").statistic)


def tv_complement(real: np.ndarray, synthetic: np.ndarray) -> float:
    """1 minus half the sum of differences of the values' shares, of values ``(n,)`` and ``(m,)``; in [0, 1].

    Source: the total variation distance, Levin and Peres, Markov Chains and Mixing Times, 2017, proposition 4.2.
    Raises DataError for no values.
    """
    return contingency_similarity(np.reshape(real, (-1, 1)), np.reshape(synthetic, (-1, 1)))


def contingency_similarity(real: np.ndarray, synthetic: np.ndarray) -> float:
    """``tv_complement`` of the combinations of values of ``(n, k)`` and ``(m, k)`` columns; in [0, 1].

    Few rows for many combinations lower it, also for samples of one distribution: compare it with that of real rows.

    Source: total variation of a contingency table, as in the Synthetic Data Vault, Patki et al., DSAA 2016. Raises
    DataError for no values or different numbers of columns.
    """
    a, b = np.asarray(real), np.asarray(synthetic)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not a.size or not b.size:
        raise DataError(f"real has shape {a.shape}, synthetic {b.shape}: give rows of the same columns")
    numbers = row_numbers(a, b)
    size = 1 + int(max(part.max() for part in numbers))
    shares = [np.bincount(part, minlength=size) / len(part) for part in numbers]
    return max(0.0, float(1 - np.abs(shares[0] - shares[1]).sum() / 2))  # rounding may go below


def correlation_similarity(real: np.ndarray, synthetic: np.ndarray) -> float:
    """1 minus half the difference of the rank correlations of two columns, ``(n, 2)`` and ``(m, 2)``; in [0, 1].

    Rows with a missing value (NaN) are left out. A constant synthetic column has the correlation 0. NaN if a real
    column is constant, or fewer than three whole rows are on a side: nothing can be compared.

    Source: Spearman, The American Journal of Psychology 15, 1904; compared as in the Synthetic Data Vault, Patki et
    al., DSAA 2016, which takes Pearson's. Raises DataError for other shapes.
    """
    found = []
    for name, given in (("real", real), ("synthetic", synthetic)):
        pair = np.asarray(given, dtype=np.float64)
        if pair.ndim != 2 or pair.shape[1] != 2:
            raise DataError(f"{name} has shape {pair.shape}: give two columns of numbers")
        found.append(_rank_correlation(pair[np.isfinite(pair).all(1)], name == "synthetic"))
    return float(1 - abs(found[0] - found[1]) / 2)


def _rank_correlation(pair: np.ndarray, zero: bool) -> float:
    """Spearman's; of a constant column 0 with ``zero``, else NaN."""
    from scipy.stats import rankdata

    if len(pair) < 3:
        return float("nan")
    centred = rankdata(pair, axis=0) - (len(pair) + 1) / 2
    spread = np.sqrt((centred**2).sum(0)).prod()
    if spread == 0:
        return 0.0 if zero else float("nan")
    return float((centred[:, 0] * centred[:, 1]).sum() / spread)


def _numbers(name: str, values: np.ndarray) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    known = array[~np.isnan(array)]
    if not len(known):
        raise DataError(f"{name} holds no numbers: leave the column out")
    return known
