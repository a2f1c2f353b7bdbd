"""docs/generators.md: its blocks run as written, in order, in a fresh interpreter, and do what the page says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECKS = """
assert images.shape == (500, 8, 8) and images.dtype == np.uint8 and nines.shape == (16, 8, 8)
assert report.tstr > 0.7, report
assert not found.leaks and found["near_share"].usual < 0.1, found.verdict
assert pale.shape == (32, 8, 8) and set(texts) == {"a bold 3"}
assert 80 < series.sample(200).mean() < 120 and near.shape == (10, 8, 8)
assert sevens.shape == (16, 8, 8, 1) and codes.shape == (16, model.config.latent_dim)
assert (detector.predict(X[y == 4]) == -1).mean() > 0.8
assert pen.translate(X[test][:5], to="b").shape == (5, 8, 8)
assert brief.history_.steps == validated.history_.steps == 60
assert hinged.sample(3).shape == (3, 8, 8)
assert {p.name for p in __import__("pathlib").Path("pictures").iterdir()} == {
    "curves.png", "samples.png", "swap.png", "walk.png"}
assert folder.classes == tuple("0123456789") and (few.classify(x[100:]) == labels[100:]).float().mean() > 0.2
"""


@pytest.mark.timeout(300)
@pytest.mark.rounding
@pytest.mark.trained
def test_the_page_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "generators.md").read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 15
    script = tmp_path / "generators.py"
    script.write_text("import torch\ntorch.set_num_threads(1)\n" + "\n".join(blocks) + CHECKS)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
