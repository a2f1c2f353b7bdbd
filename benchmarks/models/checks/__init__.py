"""The catalogue's checks: each model's or objective's own test, over seeds, with its baseline beside it.

    python -m benchmarks.models.checks [NAME ...] [--seeds 0 1 2] [--write]

Needs no data but what scikit-learn ships; the benches on MNIST record theirs (``on_mnist``) by their own ``--write``.
``--write`` stores the figures in docs/checks.json, from which
``ganlib models --pages`` makes the table in docs/checks.md. A check passes when the mean over seeds reaches its
bound (the worst seed where it says so); bounds are the catalogue's, and a figure that falls short is stored as it is.
A new check is one row in one of these files.
"""

from __future__ import annotations

from benchmarks.models.checks import (
    classes,
    detectors,
    energies,
    estimates,
    flows,
    image_flows,
    images,
    latents,
    mixtures,
    posteriors,
    structured,
    translation,
)  # fmt: skip
from benchmarks.models.checks.check import Check

_PARTS = (
    mixtures, estimates, images, classes, latents, detectors, translation, flows, image_flows, structured,
    posteriors, energies,
)  # fmt: skip
CHECKS: dict[str, Check] = {check.name: check for part in _PARTS for check in part.ROWS}
