"""Every error that a user can cause is a TrainerError, so that the command line prints it alone."""

from __future__ import annotations

import inspect

from trainer import errors


def test_every_error_is_a_trainer_error_that_says_what_it_is_for() -> None:
    classes = [thing for _, thing in inspect.getmembers(errors, inspect.isclass) if thing.__module__ == errors.__name__]
    assert {one.__name__ for one in classes} >= {"TrainerError", "DataError", "CheckpointError", "ModelLoadError"}
    for one in classes:
        assert issubclass(one, errors.TrainerError)
        assert one.__doc__
