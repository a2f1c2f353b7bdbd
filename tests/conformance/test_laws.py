"""Every registered model obeys its laws (ganlib.testing; docs/internals.md, "Tests").

A gap that an entry declares becomes a strict xfail: when it is closed, the declaration must go.
"""

import pytest
import torch

from ganlib.registry import LAWS, entries
from ganlib.testing import laws_of
from ganlib.testing.laws import ALL

torch.set_num_threads(1)
NAMES = {e.name for e in entries()}
# One model a family is measured on every submission, its namesake, one named here, else its first: its density and
# export by the fast lane, its level by the rounding lane. All are exported by tests/ganlib/export as well.
CHOSEN = {"anomaly": "ganomaly", "baselines": "centroid_kernels", "energy": "rbm"}
REPRESENTATIVES = {
    CHOSEN.get(e.family, e.family if e.family in NAMES else e.name)
    for e in {e.family: e for e in reversed(entries())}.values()
}
# Alone in their families, and most of a minute each: in the full lane.
LONG = {"gail", "coupled_pair"}
UNBENDING = {"scoring", "sampling", "resume", "save"}


def marks(entry, law):
    """Gaps are strict xfails, long laws are marked as the lanes need them."""
    found = []
    if law.name in entry.known_gaps:
        found.append(pytest.mark.xfail(reason=entry.known_gaps[law.name], strict=True))
    if law.name == "resume":
        found.append(pytest.mark.exact)
    if law.long:
        found += [pytest.mark.trained, pytest.mark.timeout(600)]
    if law.name in ("level", "export", "density") and entry.name not in REPRESENTATIVES - LONG:
        found.append(pytest.mark.slow)
    if law.name == "level":
        found.append(pytest.mark.rounding)
    return found


def params():
    for law in ALL:
        for entry in entries():
            if law in laws_of(entry):
                yield pytest.param(law, entry, id=f"{law.name}-{entry.name}", marks=marks(entry, law))


@pytest.mark.parametrize(("law", "entry"), params())
def test_law(law, entry):
    if note := law(entry):
        print(f"{entry.name}: {note}")


def test_every_law_has_a_name_of_its_own_and_a_line_of_text():
    assert sorted(law.name for law in ALL) == sorted(LAWS)
    assert all(law.text.endswith(".") for law in ALL)


def test_known_gaps_are_few_and_never_about_safety():
    for entry in entries():
        assert not UNBENDING & entry.known_gaps.keys(), entry.name
        assert all(len(reason) > 20 for reason in entry.known_gaps.values())
