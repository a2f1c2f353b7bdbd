"""Configurations: types and ranges of options, their messages, JSON Schema and the way to JSON and back."""

import dataclasses
import json
import math
from typing import Any, Literal

import pytest

from ganlib.config import Config, Count, Number, Rate, Share, Weight, Whole
from ganlib.errors import ConfigError
from ganlib.registry import entries


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """One option of every type."""

    count: Count = 1
    whole: Whole | None = 0
    weight: Weight = 0.0
    rate: Rate = 0.1
    share: Share = 0.0
    number: Number = -1.0
    widths: tuple[Count, ...] = (8, 8)
    pair: tuple[Share, Share] | None = (0.5, 0.9)
    kind: Literal["a", "b"] = "a"
    name: str = ""
    flag: bool | None = None
    anything: Any = None


GOOD = {
    "count": [1, 10**9], "whole": [0, 3, None], "weight": [0, 2.5], "rate": [1e-9, 5], "share": [0, 0.999],
    "number": [-1e300, 0, 7], "widths": [(), [1, 2], (3,)], "pair": [None, [0, 0.5]], "kind": ["a", "b"],
    "name": ["", "é"], "flag": [True, None], "anything": [None, {"a": 1}],
}  # fmt: skip
BAD = {
    "count": [0, -1, True, 1.0, "1", None], "whole": [-1, 0.5, False], "weight": [-1e-9, math.nan, math.inf, "1", True],
    "rate": [0, -1, math.inf, math.nan], "share": [1, -0.1, math.nan], "number": [math.nan, math.inf, "x"],
    "widths": [3, (0,), ("a",), [1.5]], "pair": [(0.5,), (0.5, 1.0), 0.5, (0, 0, 0)], "kind": ["c", None, 1],
    "name": [None, 3, b"x"], "flag": ["yes", 1],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in GOOD for value in GOOD[name]])
def test_values_in_range_are_taken_and_come_back(name, value):
    made = Options(**{name: value})
    assert Options.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    wanted = tuple(value) if isinstance(value, list) else value
    assert getattr(made, name) == wanted and made.replace() == made


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in BAD for value in BAD[name]])
def test_other_values_are_rejected_by_name(name, value):
    with pytest.raises(ConfigError, match=f"option '{name}' must be .*, not "):
        Options(**{name: value})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 0}, "'count' must be at least 1, not 0"),
        ({"rate": 0}, "'rate' must be above 0, not 0"),
        ({"share": 1}, "'share' must be at least 0 and below 1, not 1"),
        ({"number": math.nan}, "'number' must be a finite number, not nan"),
        ({"widths": 3}, "'widths' must be a list, each a whole number, not 3"),
        ({"kind": "c"}, "'kind' must be one of 'a', 'b', not 'c'"),
    ],
)
def test_messages_state_the_range(given, message):
    with pytest.raises(ConfigError, match=message):
        Options(**given)


def test_unknown_options_name_the_closest():
    with pytest.raises(ConfigError, match="no option 'wieght'; did you mean 'weight'"):
        Options.from_dict({"wieght": 1})


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_every_option_of_every_model_states_its_range_in_the_schema(entry):
    schema = json.loads(json.dumps(entry.config.json_schema()))["properties"]
    assert set(schema) == {field.name for field in dataclasses.fields(entry.config)}
    for name, described in schema.items():
        kinds = [described, *described.get("anyOf", [])]
        for kind in [*kinds, *(k["items"] for k in kinds if isinstance(k.get("items"), dict))]:
            if kind.get("type") in ("integer", "number") and name != "max_log_variance":
                assert "minimum" in kind or "exclusiveMinimum" in kind, name
