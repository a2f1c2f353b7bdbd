"""What the steps return. A step of a job also saves its result as JSON in the job's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class DetectorData:
    """A detector's data before anything is fitted: label rule, rows by part, findings and schema differences.

    ``level`` says of windows whether they are read relative to the level of each key, and why.
    """

    rule: str
    doubt: str
    rows: int
    fingerprint: str
    labelled: bool
    parts: Mapping[str, int]
    findings: Sequence[Mapping[str, Any]]
    differences: Sequence[str]
    modality: str = "table"
    noun: str = "row"
    level: str = ""


@dataclass(frozen=True)
class DetectorRows:
    """Row positions of each part, and for each of them whether it is a known anomaly."""

    parts: Mapping[str, Sequence[int]]
    anomalous: Mapping[str, Sequence[bool]]


@dataclass(frozen=True)
class Candidate:
    """A trained and sealed detector: ``value`` of ``measure`` on validation rows, test figures and parity."""

    model: str
    measure: str
    chance: float
    value: float
    test: Mapping[str, float]
    calibration: Mapping[str, Any]
    config: Mapping[str, Any]
    curves: Mapping[str, Sequence[float]]
    calibration_rows: int
    stopped: str
    steps: int
    parity_ratio: float
    sha256: str
    parity_max_abs: float
    parity_bound: float
    alpha_min: float | None
    exporter: str
    calibration_runs: int | None = None


@dataclass(frozen=True)
class Tuned:
    """What the trials of a study found: the best ``options``, none if no trial was better than the defaults.

    ``best`` and ``default`` are AUPRC on the rows that chose, of which ``known`` are anomalies.
    """

    study: str
    trials: int
    ended_early: int
    known: int
    default: float
    best: float
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """The best candidate, with the figures of all candidates, the baselines and the current champion.

    ``tuning`` says in words what trials found, and how it does beside the default options on other rows.
    """

    best: str
    measure: str
    chance: float
    values: Mapping[str, float]
    baselines: Mapping[str, float]
    champion: Mapping[str, Any] | None
    privacy: str
    tuning: str = ""


@dataclass(frozen=True)
class AugmenterData:
    """An augmenter's data before anything is fitted: rows by class, numbers of training and test rows."""

    rows: int
    fingerprint: str
    classes: Mapping[str, int]
    fit: int
    test: int


@dataclass(frozen=True)
class AugmenterRows:
    """Row positions of the training and the held-out rows."""

    fit: Sequence[int]
    test: Sequence[int]


@dataclass(frozen=True)
class FittedAugmenter:
    """A trained and sealed augmenter; ``lift`` is the macro AUPRC of each arm on the held-out rows."""

    model: str
    lift: Mapping[str, float]
    config: Mapping[str, Any]
    curves: Mapping[str, Sequence[float]]
    parity_ratio: float
    sha256: str


@dataclass(frozen=True)
class TranslatorData:
    """A translator's data before anything is fitted: rows of both domains, and how pairs were found, if they are."""

    model: str
    rows: int
    rows_b: int
    fingerprint: str
    fingerprint_b: str
    pairs: str
    fit: int
    test: int
    test_b: int
    modality: str


@dataclass(frozen=True)
class TranslatorRows:
    """Row positions of the training and the held-out rows of both domains; of pairs, in one order."""

    fit: Sequence[int]
    fit_b: Sequence[int]
    test: Sequence[int]
    test_b: Sequence[int]


@dataclass(frozen=True)
class FittedTranslator:
    """A trained and sealed translator with what was measured on the held-out rows (``ganlib.translate.Measured``).

    ``unmeasured`` says why nothing was, if so. ``back`` is the sealed file of the way to domain a, empty if the model
    learned none.
    """

    model: str
    measure: str
    figures: Mapping[str, float]
    saved: float | None
    baseline: str
    cycle: Mapping[str, float]
    unmeasured: str
    config: Mapping[str, Any]
    curves: Mapping[str, Sequence[float]]
    parity_ratio: float
    sha256: str
    back: str


@dataclass(frozen=True)
class DetectorDetails:
    """Further facts about a registered detector."""

    privacy: str
    champion: Mapping[str, Any] | None
    rows: int
    alpha: float
    calibration_rows: int
    doubt: str
    findings: Sequence[Mapping[str, Any]]
    tuning: str = ""


@dataclass(frozen=True)
class AugmenterDetails:
    """Further facts about a registered augmenter."""

    privacy: str
    rows: int
    classes: Mapping[str, int]


@dataclass(frozen=True)
class TranslatorDetails:
    """Further facts about a registered translator; ``cycle`` and ``saved`` as measured, empty and None if not."""

    privacy: str
    rows: int
    rows_b: int
    pairs: str
    both_ways: bool
    cycle: Mapping[str, float]
    saved: float | None


@dataclass(frozen=True)
class Trained:
    """A registered version: its figures (``measure``), its artifact and further facts (``extra``)."""

    name: str
    version: str
    run_id: str
    model: str
    measure: str
    rule: str
    validation: Mapping[str, float]
    test: Mapping[str, float]
    artifact: str
    sha256: str
    alpha_min: float | None
    extra: DetectorDetails | AugmenterDetails | TranslatorDetails

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Preview:
    """What a job would do, without fitting or writing anything.

    ``facts`` are printed one a line. ``columns`` hold example values, which are for a terminal only.
    """

    facts: Mapping[str, Any]
    columns: Sequence[Mapping[str, Any]] = ()
    findings: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Augmented:
    """A written table: row counts, generated rows by class, what they add (``lift``) and constraint counts.

    ``chance`` is the probability that generated rows help, and ``accepted`` whether it is enough for the gate.
    ``audit`` is the verdict on privacy and fidelity of the rows of the first split, or why there is none. It is None of
    images and series.
    """

    output: str
    real: int
    synthetic: int
    model: str
    classes: Mapping[str, int]
    lift: Sequence[Sequence[str]] = ()
    verdict: str = "not measured"
    report: str = ""
    constraints: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    measure: str | None = None
    accepted: bool | None = None
    chance: float | None = None
    advice: str = ""
    audit: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values; ``measure``, ``accepted``, ``chance`` and ``audit`` only if the lift was measured."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Translated:
    """Written translations: their number, the domain that they belong to, and the model with its version."""

    output: str
    rows: int
    to: str
    model: str
    version: str

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)
