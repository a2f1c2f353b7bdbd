"""``python -m pipelines.cli``: the command if its script is not on the path."""

from pipelines.cli import script

script()
