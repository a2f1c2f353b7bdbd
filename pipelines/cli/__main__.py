"""``python -m pipelines.cli``: the command where its script is not on the path."""

import sys

from pipelines.cli import main

sys.exit(main())
