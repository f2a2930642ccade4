"""Errors for mistakes that a user can make. Each message is one line: what, where, what was expected, what to do."""


class ViewgenError(Exception):
    """An error that a user can cause and mend. The command line prints the message alone and exits with code 2."""


class SettingsError(ViewgenError):
    """A TOML file that holds a wrong, misspelt or missing setting."""


class RecipeError(ViewgenError):
    """A recipe whose source cannot be read as questions."""


class ImageError(ViewgenError):
    """An image that cannot be opened safely. A build turns it into rejected questions."""


class ModelError(ViewgenError):
    """A detector or retrieval model that is missing or is not what it says it is."""


class ShardError(ViewgenError):
    """A view set that is missing, broken, or of another schema version."""


class ReviewsError(ViewgenError):
    """A file of verdicts on questions that cannot be read as such."""


class WorkerError(ViewgenError):
    """A process that worked for a build and ended before its work was done."""


class QueryError(ViewgenError):
    """A query over a view set that is wrong, or that would do more than read its tables."""
