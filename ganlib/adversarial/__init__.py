"""The adversarial game as a component that any model can hold, once or several times."""

from ganlib.adversarial.config import GameConfig
from ganlib.adversarial.game import Game, Sides, phases

__all__ = ["Game", "GameConfig", "Sides", "phases"]
