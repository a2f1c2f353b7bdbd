"""The serving tests' artifact, and this folder's own modules."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import soak  # noqa: E402


@pytest.fixture(scope="session")
def artifact(tmp_path_factory):
    return soak.small_artifact(tmp_path_factory.mktemp("artifact"))
