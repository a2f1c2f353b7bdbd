"""Errors that a person can cause or mend; each knows its exit code (docs/architecture.md, "Exit codes")."""


class GanlibError(Exception):
    """Base of all refusals; the message names the thing and the mend."""

    exit_code = 1


class ConfigError(GanlibError, ValueError):
    """An option, model name or configuration value that does not exist or does not fit."""

    exit_code = 2


class DataError(GanlibError, ValueError):
    """Input data that is broken, empty, too small or against the schema."""

    exit_code = 4


class DependencyError(GanlibError, RuntimeError):
    """A store of data did not answer."""

    exit_code = 5


class DivergenceError(GanlibError, RuntimeError):
    """A loss exploded or became no number; the algorithm was set back to its last good state."""

    exit_code = 1


class ParityError(GanlibError, RuntimeError):
    """The exported graph does not reproduce the torch model."""

    exit_code = 6
