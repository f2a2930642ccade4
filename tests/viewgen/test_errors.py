"""Every error that a user can cause is a ViewgenError, so that the command line prints it alone."""

from __future__ import annotations

import inspect

from viewgen import errors


def test_every_error_is_a_viewgen_error_that_says_what_it_is_for() -> None:
    classes = [thing for _, thing in inspect.getmembers(errors, inspect.isclass) if thing.__module__ == errors.__name__]
    assert len(classes) > 5
    for one in classes:
        assert issubclass(one, errors.ViewgenError)
        assert one.__doc__
