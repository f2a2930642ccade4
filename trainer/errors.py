"""Errors for mistakes that a user can make. Each message is one line: what, where, what was expected, what to do."""


class TrainerError(Exception):
    """A user can cause and mend this. The command line prints the message alone and exits with code 2."""


class ModelLoadError(TrainerError):
    """A student or teacher that cannot be loaded, or a pair that cannot work together."""


class DataError(TrainerError):
    """A view set that cannot feed this run."""


class CheckpointError(TrainerError):
    """A run folder that cannot be written to or resumed from."""
