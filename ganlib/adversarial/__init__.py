"""The adversarial game as a component that any model can hold, once or several times."""

from ganlib.adversarial.game import Game

__all__ = ["Game"]
