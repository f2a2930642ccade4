"""Errors for mistakes that a user can make. Each message is one line: what, where, what was expected, what to do."""

from typing import ClassVar


class TrainerError(Exception):
    """A user can cause and mend this. The command line prints the message alone and exits with code 2."""

    exit_code: ClassVar[int] = 2


class ModelLoadError(TrainerError):
    """A student or teacher that cannot be loaded, or a pair that cannot work together."""


class DataError(TrainerError):
    """A view set that cannot feed this run."""


class CheckpointError(TrainerError):
    """A run folder that cannot be written to or resumed from."""


class LostSamplesError(TrainerError):
    """A run that came to its end, but could use less than half of its samples. The command line exits with code 3."""

    exit_code = 3
