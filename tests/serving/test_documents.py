"""YAML that people write: bounded, and no value changes unseen."""

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from serving.table.documents import DEEPEST, MOST_BYTES, parse_yaml, read_yaml

BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(b + 1)}: &{chr(b + 1)} [{', '.join([f'*{chr(b)}'] * 9)}]\n" for b in range(97, 115)
)
REFUSED = {
    "anchor bomb": (BOMB, "line 2, column 8: aliases"),
    "digits": ("a: " + "9" * 5000, "line 1, column 4: '9999"),
    "beyond 64 bits": ("a: " + "9" * 30, "beyond 64 bits"),
    "nesting": ("[" * 100_000, f"deeper than {DEEPEST} levels"),
    "nested maps": ("{a: " * 1000, f"deeper than {DEEPEST} levels"),
    "octal": ("zip: 00501", "'00501' is no plain number; put quotes around it"),
    "sexagesimal": ("at: 12:30", "'12:30' is no plain number"),
    "hexadecimal": ("a: 0x1F", "'0x1F' is no plain number"),
    "underscores": ("a: 1_000", "'1_000' is no plain number"),
    "no such day": ("a: 2026-13-45", "'2026-13-45' cannot be read"),
    "a key twice": ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' stands twice"),
    "a type by name": ("a: !!python/name:os.system x", "types by name"),
    "two documents": ("a: 1\n---\nb: 2", "line 2, column 1"),
    "control characters": ("a: \x00", "unacceptable character"),
    "a list as key": ("? [1]\n: 2", "line 1, column 3"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_says_where_and_why_at_once(case):
    text, words = REFUSED[case]
    start = time.perf_counter()
    with pytest.raises(ValueError) as caught:
        parse_yaml(text)
    assert words in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 200
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    "text", ["yes", "no", "on", "off", "Y", "N", "1e3", "0o14", "007x", "1.2.3", "True|False", "falsehood", "10 %"]
)
def test_words_stay_words(text):
    assert parse_yaml(f"a: {text}") == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("False", False), ("null", None), ("-5", -5), ("1.5", 1.5)]
)
def test_values_stay_values(text, value):
    assert parse_yaml(f"a: {text}") == {"a": value}


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_what_is_written_reads_back_the_same(value):
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data):
            return True

    assert parse_yaml(yaml.dump(value, Dumper=Plain)) == value


@given(st.text())
def test_any_text_reads_or_is_refused(text):
    try:
        parse_yaml(text)
    except ValueError as error:
        assert "\n" not in str(error)


def test_a_file_without_end_or_of_another_encoding_is_refused(tmp_path):
    large, latin = tmp_path / "large.yaml", tmp_path / "latin.yaml"
    large.write_bytes(b"#" * (MOST_BYTES + 1))
    latin.write_bytes(b"a: caf\xe9")
    for path, words in ((large, "larger than 8 MB"), (latin, "not UTF-8 (byte 6)")):
        with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
            read_yaml(path)
