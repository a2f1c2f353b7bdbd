"""Passwords and tokens are masked in whatever is shown, and what is shown stays on its line."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import secrets
from serving.secrets import holds_secret, remember, without_secrets
from serving.wording import printable, shown

ROOT = Path(__file__).resolve().parents[2]
URLS = {
    "postgresql://me:hunter2@host/db": "postgresql://***@host/db",
    "postgresql+psycopg2://me:hun/ter2@host:5432/db": "postgresql+psycopg2://***@host:5432/db",
    "mysql://me:hun@ter2@host/db": "mysql://***@host/db",
    "https://hunter2@host/x": "https://***@host/x",
    "sftp://me:hunter2@host/a.csv": "sftp://***@host/a.csv",
    "redis://:hunter2@host": "redis://***@host",
    "https://host/x?sig=hunter2&v=1": "https://host/x?sig=***&v=1",
    "postgresql://host/db?user=me&password=hunter2": "postgresql://host/db?user=me&password=***",
    "s3://b/x?X-Amz-Signature=hunter2": "s3://b/x?X-Amz-Signature=***",
}
HARMLESS = ("models:/demo@champion", "http://host:5000/a@b", "s3://bucket/a@b.csv", "sqlite:///a@b.db", "a:b@c", "/a@b")


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(secrets, "_known", set())


@pytest.mark.parametrize("url", URLS)
def test_a_url_keeps_all_but_its_secret(url):
    assert holds_secret(url) and without_secrets(f"'{url}' failed") == f"'{URLS[url]}' failed"


@pytest.mark.parametrize("text", HARMLESS)
def test_what_holds_no_secret_stays(text):
    assert not holds_secret(text) and without_secrets(text) == text


words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=4, max_size=12)


@given(st.sampled_from(["postgresql", "sftp", "https", "redis"]), words, words, words)
def test_any_password_in_a_url_is_masked(scheme, user, password, host):
    shown_url = without_secrets(f"{scheme}://{user}:{password}%!@{host}/x: down")
    assert shown_url == f"{scheme}://***@{host}/x: down"


def test_a_secret_that_was_read_is_masked_however_it_comes_back():
    remember("postgresql://me:p%40ss word@host/db")
    said = without_secrets("authentication with p@ss word failed; dsn 'host=host password=p%40ss word'")
    assert "ss word" not in said
    remember("abc")
    assert without_secrets("abcdef") == "abcdef", "three letters would black out ordinary words"


@given(st.text())
def test_what_is_shown_is_one_printable_line(text):
    line = printable(text)
    assert line.isprintable() and len(line.splitlines()) <= 1
    assert printable(line) == line
    shown(text).encode("utf-8")


def test_logs_warnings_and_tracebacks_pass_the_same_way():
    code = (
        "import logging, sys, warnings\n"
        "from serving.cli_support import run_cli, setup_logging\n"
        "setup_logging()\n"
        "logging.getLogger('ganlib.x').warning('column %s', 'a\\n\\x1b[31mb')\n"
        "warnings.warn('sftp://me:hunter2@host')\n"
        "def fail():\n"
        "    raise KeyError('https://hunter2@host a\\nb')\n"
        "sys.exit(run_cli(fail, debug=True))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "hunter2" not in done.stderr and "\x1b" not in done.stderr
    lines = done.stderr.splitlines()
    assert lines[0] == r"WARNING ganlib.x: column a\n\x1b[31mb" and lines[1] == "warning: sftp://***@host"
    assert lines[2].startswith("Traceback") and lines[-1].startswith("error: unexpected KeyError: ")


def test_a_traceback_in_the_log_holds_no_secret(capsys):
    from serving.cli_support import _OneLine

    record = logging.makeLogRecord({"msg": "x", "levelname": "ERROR", "name": "n"})
    try:
        raise ValueError("redis://:hunter2@host")
    except ValueError:
        record.exc_info = sys.exc_info()
    text = _OneLine("%(message)s").format(record)
    assert "hunter2" not in text and "redis://***@host" in text
