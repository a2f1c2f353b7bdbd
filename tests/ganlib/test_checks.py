"""The checks of benchmarks/models/checks: run in the slow lane (but those on MNIST, which is not shipped); recorded
figures are complete and true."""

import json

import pytest
import torch

from benchmarks.models.checks import CHECKS
from benchmarks.models.checks.check import FILE
from benchmarks.models.checks.energies import belief_log_prob
from benchmarks.models.checks.on_mnist import BENCHES
from ganlib.data.spec import Block, DataSpec
from ganlib.registry import create, list_models

RECORDED = json.loads(FILE.read_text(encoding="utf-8"))


def test_every_check_is_recorded_over_its_seeds_and_says_rightly_whether_it_passed():
    known = CHECKS | {check.name: check for checks in BENCHES.values() for check in checks}
    assert RECORDED.keys() == known.keys()
    for name, row in RECORDED.items():
        check = known[name]
        assert check.model in list_models() and len(row["seeds"]) >= check.seeds >= 3
        assert row == check.record(list(zip(row["figures"], row["baselines"], strict=True)), row["seeds"]), name


def params():
    """Checks by name; those that docs/checks.md lists as not reproduced run too, and must fail still."""
    for name in sorted(name for name, check in CHECKS.items() if not check.finding):
        failed = name in RECORDED and not RECORDED[name]["passed"]
        marks = [pytest.mark.xfail(reason="not reproduced; docs/checks.md says so", strict=True)] if failed else []
        yield pytest.param(name, marks=marks)


def test_a_check_that_is_not_reproduced_runs_as_a_strict_expected_failure():
    marks = {param.values[0]: param.marks for param in params()}
    failed = {name for name in marks if not RECORDED[name]["passed"]}
    assert failed and {name for name in marks if marks[name]} == failed
    assert all(mark.name == "xfail" and mark.kwargs["strict"] for name in failed for mark in marks[name])


def test_the_exact_likelihood_of_a_helmholtz_machine_adds_up_to_one_and_exceeds_the_bound():
    torch.manual_seed(0)
    spec = DataSpec.table(tuple(Block(f"p{i}", "binary", i) for i in range(5)))
    model = create("helmholtz", spec, hidden=(4, 3))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    v = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 5)
    found = belief_log_prob(model, v)
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-5)
    with torch.no_grad():
        assert float((found - model.bound(v, torch.rand(2000, 7))).mean()) > 0
        states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 7).split([4, 3], 1)
        direct = model.log_generation(v[:1], states).logsumexp(0)
    torch.testing.assert_close(direct, found[0])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", params())
def test_check(name):
    check = CHECKS[name]
    figures = [check.run(seed) for seed in range(check.seeds)]
    assert check.passed(figures), figures
