"""The step that tunes a detector's options by known anomalies of the part ``tuning``; other rows judge the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UsageError
from pipelines.figures import Parts
from pipelines.job import Job
from pipelines.named import entry_of
from pipelines.results import Tuned
from pipelines.search_space import FACTOR
from pipelines.settings import Settings
from pipelines.tuning import need_optuna, tuned
from serving.wording import say

if TYPE_CHECKING:
    from ganlib.registry import Entry

_DATA_PLACES = ("path", "path_b", "date", "schema_file", "schema_file_b")
_PLACES = ("device", "threads", "distributed", "checkpoint", "checkpoint_every")  # they do not change what is learned


def check_tuning(settings: Settings) -> None:
    """Raise UsageError on settings with which nothing can be tuned."""
    if settings.model.name == "auto":
        raise UsageError(
            "--tune is for one model, and auto fuses several: name one by --model, or leave --tune out, since known "
            "anomalies weigh the members of auto anyway"
        )
    if settings.training.checkpoint:
        raise UsageError("training.checkpoint holds one training, and --tune trains many: leave one of them out")
    need_optuna()


def tune(folder: str) -> Tuned:
    """Search the model's options by AUPRC on the rows ``tuning``, in trials that go on where an earlier run ended."""
    from pipelines.trials import DetectorTrials

    job = Job.open(folder)
    settings, model, parts = job.settings, entry_of(job.settings.model.name), Parts(job)
    described = parts.reader.parameters(job.folder)
    file = study_file(job, parts, model, described)
    for other in sorted(file.parent.glob(f"{job.name}-{model.name}-*.db")):
        if other != file:
            say(f"{other} holds trials on other data or settings, which do not count here; remove it if not needed")
    trials = DetectorTrials(model, settings.detector_parameters() | described, parts)
    best = tuned(file, int(settings.model.tune or 0), settings.training.random_state, trials, say)
    done = Tuned(
        study=str(file),
        trials=best.trials,
        ended_early=best.ended_early,
        known=int(parts.anomalous["tuning"].sum()),
        default=best.default,
        best=best.value,
        options=best.options,
    )
    job.save("tuned", done)
    return done


def study_file(job: Job, parts: Parts, model: Entry, described: Mapping[str, Any]) -> Path:
    """The file of a study, named by job, model, and a fingerprint of data and settings.

    ``described`` is what describes the data to estimators: the content of a schema counts, not its place.
    """
    settings = job.settings.to_json()
    data = {key: value for key, value in settings["data"].items() if key not in _DATA_PLACES}
    training = {key: value for key, value in settings["training"].items() if key not in _PLACES}
    rows = [parts.data.fingerprint, parts.rows["fit"], parts.rows["tuning"]]
    described = {key: value.to_dict() if hasattr(value, "to_dict") else value for key, value in described.items()}
    options = [settings["model"]["options"], settings["calibration"]["fraction"], model.options().to_dict()]
    what = [rows, described, data, training, options, dict(model.trainer), FACTOR]
    mark = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:12]
    return Path(job.settings.model.studies) / f"{job.name}-{model.name}-{mark}.db"
