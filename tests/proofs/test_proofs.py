"""Two models of a user's own, each one file without an edit elsewhere, obey every law of their abilities."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

from ganlib import registry
from ganlib.registry import entries, entry
from ganlib.testing import check_model, laws_of

torch.set_num_threads(1)
FOLDER = Path(__file__).parent
PROOFS = {"pix2pix": "Pix2Pix", "character_wgan": "CharacterWGAN"}


@pytest.fixture(params=PROOFS)
def model(request, monkeypatch):
    """The class of one file, imported for one test; the registry is restored afterwards."""
    entries()
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    name = f"tests.proofs.{request.param}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    return getattr(importlib.import_module(name), PROOFS[request.param])


def test_each_is_one_file_of_120_lines_and_imports_no_other():
    for name in PROOFS:
        text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 120 and max(map(len, text.splitlines())) <= 120, name
        imported = [line.split()[1] for line in text.splitlines() if line.startswith(("from ", "import "))]
        assert {module.split(".")[0] for module in imported} <= {
            "__future__",
            "dataclasses",
            "typing",
            "torch",
            "ganlib",
        }
    assert sorted(path.stem for path in FOLDER.glob("*.py")) == sorted([*PROOFS, "test_proofs"])


@pytest.mark.exact
@pytest.mark.timeout(600)
def test_it_passes_every_law_of_its_abilities(model):
    own = entry(next(e.name for e in entries() if e.build is model))
    assert not own.known_gaps and own.family == "custom"
    laws = {law.name for law in laws_of(own)}
    assert laws > {"gradients", "resume", "export", "level"}
    check_model(model, laws - {"level"})


@pytest.mark.rounding
@pytest.mark.trained
@pytest.mark.timeout(600)
def test_it_reaches_its_level(model):
    check_model(model, ["level"])
