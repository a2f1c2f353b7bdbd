"""What both commands share."""

import warnings

from serving.cli_support import setup_logging


def test_equal_warnings_of_one_command_are_said_once(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        setup_logging()
        for text in ("column 'id'", "column 'id'", "another"):
            warnings.warn(text, stacklevel=1)
    assert capsys.readouterr().err == "warning: column 'id'\nwarning: another\n"
