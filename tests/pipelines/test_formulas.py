"""Generated text that a spreadsheet would run: said, left as it is, and made harmless on request; real rows stay."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipeline_data import refused

from pipelines.formulas import checked

FORMULAS = ["=1+1", "=cmd|' /C calc'!A0", "+SUM(A1)", "-A1", "@x", "\t=1", "\r=1", "+49 30 x"]
HARMLESS = ["", "a=b", "-5", "+1.5 %", "-$3.00", "-", "'=1", " =1", "1-2", None, 3.5, np.nan]


def table(values, generated):
    frame = pd.DataFrame({"text": pd.Series(values, dtype=object), "number": range(len(values))})
    return frame.assign(_synthetic=generated)


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("generated", [False, True])
def test_only_generated_formulas_are_named_and_only_on_request_changed(generated, safe):
    given, said = table(FORMULAS + HARMLESS, generated), []
    done = checked(given, "_synthetic", Path("more.csv"), safe, said.append)
    guarded = ["'" + text for text in FORMULAS] if generated and safe else FORMULAS
    pd.testing.assert_frame_equal(done, table(guarded + HARMLESS, generated))
    assert len(said) == generated
    if generated:
        assert f"{len(FORMULAS)} generated cells in 'text'" in said[0] and ("warning" in said[0]) != safe


def test_parquet_has_no_formulas():
    given = table(FORMULAS, True)
    assert checked(given, "_synthetic", Path("more.parquet"), False, pytest.fail) is given


def test_augment_warns_and_guards(ganlib, home):
    frame = pd.DataFrame({"a": np.arange(40.0) % 7, "cell": ["=1+1", "plain"] * 20, "kind": ["x"] * 30 + ["y"] * 10})
    frame.to_csv("data.csv", index=False)
    given = ("augment", "--data", "data.csv", "--label", "kind", "--rows", 40, "--gate", "off", "--steps", 3)
    refused(ganlib(*given, "--output", "more.parquet", "--spreadsheet-safe"), 2, "--spreadsheet-safe")
    for option in ((), ("--spreadsheet-safe",)):
        code, _, err = ganlib(*given, "--output", "more.csv", *option)
        assert code == 0 and "in 'cell': a spreadsheet program would run the text as a formula" in err, err
        made = pd.read_csv("more.csv")
        assert Path("more.csv").read_text().splitlines()[1].endswith("=1+1,x,False")
        assert set(made.loc[~made["_synthetic"], "cell"]) == {"=1+1", "plain"}
        assert set(made.loc[made["_synthetic"], "cell"]) <= {"'=1+1" if option else "=1+1", "plain"}
