"""docs/extending.md: its blocks run as written, in order, in a fresh interpreter, and do what the page says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECKS = """
found, share = modes_found(model_points, deviation=0.1)
assert found >= 6 and share > 0.5, (found, share)
add_objective(OBJECTIVES["relativistic"]), add_architecture(ARCHITECTURES["fourier"])  # a cell that is run again
for law in (lambda: add_objective(OBJECTIVES["gan"]), lambda: add_architecture(ARCHITECTURES["mlp"])):
    try:
        law()
    except ConfigError as error:
        assert "choose another name" in str(error)
    else:
        raise AssertionError("a name of the library's was accepted")
"""


@pytest.mark.timeout(300)
@pytest.mark.rounding
@pytest.mark.trained
def test_the_worked_examples(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 9
    first = "\n".join(blocks[:2]) + (
        "\nimport torch\nsampler = model.sampler()\n"
        "model_points = sampler(torch.randn(2000, sampler.latent_dim)).detach()\n"
    )
    rest = "\n".join(blocks[2:]) + (
        "\nfrom ganlib.errors import ConfigError\n"
        "from ganlib.losses.adversarial import OBJECTIVES\nfrom ganlib.nn.architecture import ARCHITECTURES\n"
    )
    script = tmp_path / "extending.py"
    script.write_text("import torch\ntorch.set_num_threads(1)\ntorch.manual_seed(0)\n" + first + rest + CHECKS)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
