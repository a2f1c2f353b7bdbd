"""The training core: what a model declares, and the loop that trains it."""

from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase, Routine, Stage
from ganlib.training.batches import TensorBatches
from ganlib.training.config import History, TrainerConfig
from ganlib.training.trainer import Trainer

__all__ = [
    "Algorithm",
    "Batch",
    "History",
    "Losses",
    "Optimiser",
    "Phase",
    "Routine",
    "Stage",
    "TensorBatches",
    "Trainer",
    "TrainerConfig",
]
