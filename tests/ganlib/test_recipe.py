"""How estimators train: what the caller states wins over the model's defaults, and these over the data's size."""

import copy
import dataclasses
import inspect
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils._param_validation import InvalidParameterError

from ganlib.augment import Augmenter, AutoAugmenter, CVAEAugmenter, as_augmenter
from ganlib.augment.base import BaseAugmenter
from ganlib.detect import AutoDetector, Detector, VAEDetector, as_detector
from ganlib.detect.base import BaseDetector
from ganlib.errors import ConfigError
from ganlib.recipe import DETECTION, GENERATION, Training
from ganlib.registry import entry
from ganlib.training import TrainerConfig

ROWS = np.random.default_rng(0).normal(size=(60, 3))
SMALL = {"hidden": (4,), "latent_dim": 2}


def config(estimator=None, rows=1000, watched=True, usual=DETECTION, **entry_defaults):
    """The configuration of an estimator's training, with other defaults in the model's entry."""
    estimator = estimator or VAEDetector()
    model = dataclasses.replace(entry("vae"), trainer=entry_defaults)
    return Training.of(estimator, model, usual, seed=0).config(rows, watched)


# -------------------------------------------------------------------- one rule
def test_patience_is_a_number_of_steps_in_either_kind():
    """12 readings of 50 steps, 10 of 100; none where there are no rows to read."""
    assert config().patience == 12 and config(usual=GENERATION).patience == 10
    assert config(rows=640).validate_every * 5 == 50  # 5 batches an epoch
    assert config(usual=GENERATION, rows=640).validate_every * 5 == 100
    assert config(watched=False).patience == 0 == TrainerConfig().patience
    assert config(VAEDetector(patience=3)).patience == 3


def test_every_training_default_of_an_entry_is_read():
    stated = {
        "steps": 7000, "batch_size": 50, "ema": 0.9, "gradient_clip": 1.0, "patience": 3, "validate_every": 4,
        "schedule": "cosine", "warm_up": 5, "precision": "fp32", "min_delta": 0.1,
    }  # fmt: skip
    made = config(rows=1000, **stated)
    assert made.epochs == 7000 // 20
    for name in stated.keys() - {"steps"}:
        assert getattr(made, name) == stated[name], name
    assert config(usual=GENERATION, steps=7000).steps == 7000
    assert config(usual=GENERATION, rows=100, steps=7000).steps == 600  # a handful of rows
    assert config(epochs=9).epochs == 9 and config(epochs=9).steps is None


def test_the_entry_yields_to_parameters_and_these_budgets_replace_its_budget():
    made = config(VAEDetector(epochs=2, batch_size=32), steps=7000, batch_size=50, ema=0.9)
    assert (made.epochs, made.steps, made.batch_size, made.ema) == (2, None, 32, 0.9)
    made = config(VAEDetector(trainer={"epochs": 2, "ema": 0.0, "batch_size": 10}), steps=7000, ema=0.9)
    assert (made.epochs, made.steps, made.batch_size, made.ema) == (2, None, 10, 0.0)
    assert made.validate_every == 1  # 100 batches of 10 an epoch


# -------------------------------------------------------------------- trainer=
def test_a_config_states_the_options_that_were_given_even_by_their_default_value():
    stated = TrainerConfig(ema=0.0, steps=5)
    assert stated.given == {"ema": 0.0, "steps": 5}
    for same in (copy.deepcopy(stated), pickle.loads(pickle.dumps(stated))):
        assert same.given == stated.given and same == stated
    assert stated.replace(steps=6).given == {"ema": 0.0, "steps": 6}
    made = config(VAEDetector(trainer=stated))
    assert (made.ema, made.steps, made.gradient_clip, made.patience) == (0.0, 5, 5.0, 12)
    assert made == config(VAEDetector(trainer={"ema": 0.0, "steps": 5}))


@pytest.mark.parametrize("make", [VAEDetector, CVAEAugmenter])
def test_trainer_reaches_the_run_of_every_estimator(make):
    class Recorder:
        seen, ended = 0, 0

        def on_step(self, step, budget, losses):
            self.seen, self.budget = step, budget

        def on_end(self):
            self.ended += 1

    recorder = Recorder()
    fitted = make(**SMALL, trainer={"steps": 4, "batch_size": 10, "callbacks": [recorder]}).fit(ROWS)
    assert fitted.history_.steps == 4 and (recorder.seen, recorder.budget, recorder.ended) == (4, 4, 1)
    plain = make(**SMALL, steps=4, batch_size=10).fit(ROWS)
    ours, theirs = fitted.algorithm_.state_dict(), plain.algorithm_.state_dict()
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    other = make(**SMALL, steps=4, batch_size=10, trainer=TrainerConfig(ema=0.0)).fit(ROWS).algorithm_.state_dict()
    assert any(not np.array_equal(other[name], theirs[name]) for name in theirs)


def test_a_callback_with_on_start_receives_the_model_before_the_first_step():
    class Watcher:
        calls = []

        def on_start(self, algorithm):
            self.calls.append(algorithm)

        def on_step(self, step, budget, losses):
            self.calls.append(step)

        def on_end(self):
            pass

    fitted = VAEDetector(**SMALL, trainer={"steps": 2, "batch_size": 100, "callbacks": [Watcher()]}).fit(ROWS)
    assert Watcher.calls[0] is fitted.algorithm_ and Watcher.calls.count(fitted.algorithm_) == 1
    assert Watcher.calls[1] == 1


@pytest.mark.parametrize("make", [VAEDetector, CVAEAugmenter, Detector, Augmenter])
def test_trainer_is_a_parameter_like_the_others(make):
    estimator = make(trainer={"ema": 0.5})
    assert clone(estimator).get_params()["trainer"] == {"ema": 0.5}
    assert estimator.set_params(trainer=TrainerConfig(steps=3)).trainer.given == {"steps": 3}
    assert clone(estimator).trainer.given == {"steps": 3}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"trainer": {"stepz": 3}}, "no option 'stepz'; did you mean 'steps'"),
        ({"trainer": {"ema": 1.5}}, "'ema' must be at least 0 and below 1"),
        ({"trainer": 5}, "parameter 'trainer' must be TrainerConfig or .*None, not 5"),
        ({"trainer": {"callbacks": [print]}}, "on_step and on_end"),
        ({"trainer": {"steps": 3}, "steps": 4}, "steps is given twice, by itself and in trainer"),
        ({"trainer": TrainerConfig(batch_size=9), "batch_size": 9}, "batch_size is given twice"),
        ({"trainer": {"patience": 1}, "patience": 2}, "patience is given twice"),
        ({"trainer": {"device": "cpu"}, "device": "cpu"}, "device is given twice"),
        ({"trainer": {"random_state": 1}, "random_state": 1}, "random_state is given twice"),
        ({"trainer": {"epochs": 3}, "steps": 4}, "steps and epochs are both given"),
    ],
)
@pytest.mark.parametrize("make", [VAEDetector, CVAEAugmenter])
def test_refusals_come_before_training(make, parameters, words):
    with pytest.raises(ConfigError, match=words):
        make(**parameters).fit(ROWS)


def test_a_patience_that_trainer_states_is_never_dropped_silently():
    with pytest.warns(UserWarning, match="patience=2 has no effect"):
        VAEDetector(**SMALL, steps=2, validation_fraction=0.0, trainer={"patience": 2}).fit(ROWS)


def test_models_of_one_class_each_do_not_share_a_checkpoint(tmp_path):
    trainer = {"steps": 2, "checkpoint": str(tmp_path / "run.pt")}
    by_class = as_augmenter("vae", **SMALL, trainer=trainer)
    with pytest.raises(ConfigError, match="once for each of 2 classes"):
        by_class.fit(ROWS, [0, 1] * 30)
    assert as_detector("vae", **SMALL, trainer=trainer).fit(ROWS).history_.steps == 2
    assert (tmp_path / "run.pt").exists()


# -------------------------------------------------------------------- ranges
@pytest.mark.parametrize(("named", "base"), [(Detector, BaseDetector), (Augmenter, BaseAugmenter)])
def test_the_signatures_that_are_written_twice_agree(named, base):
    """Editors and scikit-learn read signatures, which Python cannot inherit and extend."""
    ours, theirs = (dict(inspect.signature(kind.__init__).parameters) for kind in (named, base))
    ours.pop("model")
    assert ours == theirs


def test_the_automatic_detector_shares_the_signature_of_detectors_but_for_what_is_of_one_model():
    ours, theirs = (dict(inspect.signature(kind.__init__).parameters) for kind in (AutoDetector, BaseDetector))
    for own in ("members", "contamination", "budget"):
        ours.pop(own)
    for single in ("options", "latent_dim", "hidden", "learning_rate"):
        theirs.pop(single)
    assert ours == theirs


def test_the_automatic_augmenter_shares_the_signature_of_augmenters_but_for_what_is_of_one_model():
    ours, theirs = (dict(inspect.signature(kind.__init__).parameters) for kind in (AutoAugmenter, BaseAugmenter))
    for own in ("members", "compare", "confidence", "learner", "repeats", "budget"):
        ours.pop(own)
    for single in ("options", "latent_dim", "hidden", "learning_rate"):
        theirs.pop(single)
    assert ours == theirs


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"epochs": 0}, "'epochs' must be at least 1, not 0"),
        ({"steps": 2.5}, "'steps' must be a whole number or None"),
        ({"batch_size": True}, "'batch_size'"),
        ({"learning_rate": 0.0}, "'learning_rate' must be above 0"),
        ({"hidden": (8, 0)}, "'hidden' must be at least 1"),
        ({"patience": -1}, "'patience' must be at least 0"),
        ({"validation_fraction": 1.0}, "'validation_fraction'"),
        ({"random_state": -1}, "'random_state'"),
        ({"random_state": "a"}, "'random_state'"),
        ({"schema": 3}, "'schema' must be Schema or text"),
        ({"options": [1]}, "'options'"),
        ({"verbose": "no"}, "'verbose' must be true or false"),
        ({"modality": "sound"}, "modality is 'image' or 'series'"),
    ],
)
@pytest.mark.parametrize("make", [VAEDetector, CVAEAugmenter])
def test_parameters_out_of_range_are_named(make, parameters, words):
    with pytest.raises(ConfigError, match=words) as caught:
        make(**parameters).fit(ROWS)
    assert isinstance(caught.value, InvalidParameterError) or "modality" in parameters


def test_numbers_of_numpy_are_numbers():
    """Grids of parameters are arrays."""
    VAEDetector(
        hidden=[np.int64(4)], latent_dim=np.int32(2), epochs=np.int64(1), batch_size=np.int64(16),
        alpha=np.float32(0.2), random_state=np.uint32(3), verbose=np.False_,
    ).fit(ROWS)  # fmt: skip
