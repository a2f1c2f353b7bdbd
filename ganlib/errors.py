"""Errors that users can cause or fix, each with its exit code (docs/architecture.md, "Exit codes")."""


class GanlibError(Exception):
    """Base of the errors of this package; the message names the problem and the fix."""

    exit_code = 1


class ConfigError(GanlibError, ValueError):
    """An option, model name or configuration value that does not exist or is not valid."""

    exit_code = 2


class DataError(GanlibError, ValueError):
    """Input data that is corrupted, empty, too small or does not match the schema."""

    exit_code = 4


class DependencyError(GanlibError, RuntimeError):
    """A store of data did not answer."""

    exit_code = 5


class DivergenceError(GanlibError, RuntimeError):
    """A loss exploded or became NaN; the algorithm has its last good state again."""

    exit_code = 1


class ParityError(GanlibError, RuntimeError):
    """The exported graph does not reproduce the torch model."""

    exit_code = 6
