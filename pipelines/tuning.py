"""Trials of a model's options, kept in a SQLite file by Optuna: the only module that knows it.

Each trial trains the model with other options and is judged by known anomalies. The sampler is TPE (Bergstra et al.,
Algorithms for Hyper-Parameter Optimization, NeurIPS 2011); a trial ends early if it is worse than the median of the
others at the same share of its budget (Golovin et al., Google Vizier, KDD 2017). The default options are judged first,
as one more trial, and ranges lie around them (``pipelines.search_space``).

The file is written after each trial, so a run that was killed goes on from its finished trials. Each trial is sampled
with a seed of its own: an interrupted study samples the same options as one that was not.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from pipelines.errors import TryAgain, UsageError, cannot_write
from pipelines.search_space import Dimension
from serving.wording import counted

TENTHS = 10
"""A model is measured at each tenth of its training."""
_BEFORE_PRUNING, _WARM_UP = 5, 2  # whole trials, and tenths of each

Report = Callable[[int, float], None]
"""Receives a tenth and the figure there; may raise to end the trial."""
Say = Callable[[str], None]


class Trials(Protocol):
    """What is tuned. Figures are better the higher they are."""

    def begin(self, report: Report) -> tuple[float, Sequence[Dimension]]:
        """The figure of the default options, and the options to search, with ranges around the defaults."""

    def judge(self, options: Mapping[str, Any], report: Report) -> float:
        """The figure of other options."""


@dataclass(frozen=True)
class Best:
    """The best options of a study, none if no trial was better than the defaults; figures and numbers of trials."""

    options: Mapping[str, Any]
    value: float
    default: float
    trials: int
    ended_early: int


def need_optuna() -> None:
    """Raise UsageError unless Optuna is installed."""
    if importlib.util.find_spec("optuna") is None:
        raise UsageError('--tune needs optuna; pip install "ganlib[tune]"')


def tuned(file: Path, wanted: int, seed: int, trials: Trials, say: Say) -> Best:
    """The best options after the ``wanted`` number of trials, those that the file holds already included.

    A trial whose options do not fit the data, or whose training diverges, counts as ended early.
    Raises TryAgain while another run uses the file; UsageError if there is nothing to tune, if the file cannot be
    opened or is no study; and what ``trials`` raises with the default options.
    """
    with _opened(file) as study:
        _give_up_interrupted(study)
        if not _finished(study):
            _begin(study, trials, say)
        elif kept := len(_finished(study)) - 1:
            say(f"{file} holds {counted(kept, 'finished trial')}")
        space = [Dimension(**{**values, "widths": tuple(values["widths"])}) for values in study.user_attrs["space"]]
        while (number := len(_finished(study))) <= wanted:
            _try(study, space, trials, seed, say, f"trial {number} of {wanted}")
        return _best(study, space)


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """The study in a file, for one run at a time."""
    from filelock import FileLock, Timeout

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{file}.lock", timeout=0).acquire()
    except Timeout as error:
        raise TryAgain(f"another run tunes with {file}; run the same command when it has ended") from error
    except OSError as error:
        raise cannot_write(file, error, "choose another model.studies") from error
    with lock:
        import optuna

        try:
            yield _study(file)
        except optuna.exceptions.StorageInternalError as error:
            reason = " ".join(str(error.__cause__ or error).split())
            raise TryAgain(
                f"{file} cannot be written ({reason}); finished trials are kept: fix it and run the same command again"
            ) from error


def _study(file: Path) -> Any:
    import optuna
    from sqlalchemy.exc import DatabaseError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(_BEFORE_PRUNING, _WARM_UP)
    try:
        return optuna.create_study(
            storage=f"sqlite:///{file}", study_name="options", direction="maximize", pruner=pruner, load_if_exists=True
        )
    except (DatabaseError, RuntimeError) as error:  # RuntimeError: of another release of Optuna
        reason = " ".join(str(getattr(error, "orig", error)).split())
        raise UsageError(f"{file} holds no trials that can be read ({reason}); remove it") from error


def _give_up_interrupted(study: Any) -> None:
    """Count trials that a killed run left unfinished as failed; their options are sampled again."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
        study.tell(trial.number, state=TrialState.FAIL)


def _finished(study: Any) -> list[Any]:
    """Trials that count, the default options first."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))  # type: ignore[no-any-return]


def _begin(study: Any, trials: Trials, say: Say) -> None:
    """Enter the default options as the first trial, with which others are compared."""
    import optuna

    tenths: dict[int, float] = {}
    value, space = trials.begin(tenths.__setitem__)
    if not space:
        raise UsageError("the model has no option that could be tuned: each is stated, or is no number")
    study.set_user_attr("space", [asdict(dimension) for dimension in space])
    study.add_trial(
        optuna.trial.create_trial(
            params={d.name: d.usual for d in space},
            distributions={d.name: _distribution(d) for d in space},
            value=value,
            intermediate_values=tenths,
        )
    )
    say(f"default options: {value:.4f}")


def _distribution(dimension: Dimension) -> Any:
    from optuna.distributions import FloatDistribution, IntDistribution

    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=True)
    return FloatDistribution(dimension.low, dimension.high, log=True)


def _try(study: Any, space: Sequence[Dimension], trials: Trials, seed: int, say: Say, name: str) -> None:
    """Run one trial and record how it ended."""
    import optuna
    from optuna.trial import TrialState

    from ganlib.errors import ConfigError, DivergenceError

    study.sampler = optuna.samplers.TPESampler(seed=(seed * 100_003 + len(_finished(study))) % 2**32)
    trial = study.ask({d.name: _distribution(d) for d in space})
    options = {d.name: d.option(trial.params[d.name]) for d in space}

    def report(part: int, value: float) -> None:
        trial.report(value, part)
        if trial.should_prune():
            raise optuna.TrialPruned(f"{value:.4f} after {part} tenths, which is below the median of the others")

    try:
        value = trials.judge(options, report)
        if not math.isfinite(value):
            raise DivergenceError(f"the figure is {value}")
    except (optuna.TrialPruned, ConfigError, DivergenceError) as error:
        reason = " ".join(str(error).split())
        trial.set_user_attr("reason", reason)
        study.tell(trial, state=TrialState.PRUNED)
        say(f"{name} ended early: {reason}")
    else:
        study.tell(trial, value)
        say(f"{name}: {value:.4f} with {in_words(options)}")


def _best(study: Any, space: Sequence[Dimension]) -> Best:
    from optuna.trial import TrialState

    trials = _finished(study)
    whole = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    best = max(whole, key=lambda trial: trial.value)  # of equals the first: the default options
    options = {} if best is trials[0] else {d.name: d.option(best.params[d.name]) for d in space}
    return Best(options, best.value, trials[0].value, len(trials) - 1, len(trials) - len(whole))


def in_words(options: Mapping[str, Any]) -> str:
    """Options with their values, numbers to three digits and lists as in a job's file."""
    return ", ".join(f"{name} {_in_words(value)}" for name, value in options.items())


def _in_words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(list(value)) if isinstance(value, tuple | list) else str(value)
