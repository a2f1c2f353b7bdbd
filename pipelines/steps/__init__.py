"""The jobs and their steps, as plain functions without Prefect.

A job is called as ``job(registry, settings, name, runner)``: the registry (None opens the one that the settings
name), the settings (``settings_of``), the name in the registry if it registers, and how to report and call steps.
A step is called as ``step(folder)`` with the job's folder.
"""

from pipelines.steps.augmentation import augment, plan_augmentation
from pipelines.steps.augmenter import (
    fit_augmenter,
    plan_augmenter,
    prepare_augmenter,
    register_augmenter,
    train_augmenter,
)
from pipelines.steps.common import Runner, model_for, settings_of, task_of, tasks_of
from pipelines.steps.detector import choose, plan_detector, prepare, register, train_candidate, train_detector
from pipelines.steps.scoring import explain, score
from pipelines.steps.translation import plan_translation, translate
from pipelines.steps.translator import (
    fit_translator,
    plan_translator,
    prepare_translator,
    register_translator,
    train_translator,
)
from pipelines.steps.tuning import tune

__all__ = [
    "Runner",
    "augment",
    "choose",
    "explain",
    "fit_augmenter",
    "fit_translator",
    "model_for",
    "plan_augmentation",
    "plan_augmenter",
    "plan_detector",
    "plan_translation",
    "plan_translator",
    "prepare",
    "prepare_augmenter",
    "prepare_translator",
    "register",
    "register_augmenter",
    "register_translator",
    "score",
    "settings_of",
    "task_of",
    "tasks_of",
    "train_augmenter",
    "train_candidate",
    "train_detector",
    "train_translator",
    "translate",
    "tune",
]
