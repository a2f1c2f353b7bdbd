"""Tests of augmenters share tables of relations."""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))
