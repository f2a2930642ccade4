"""Name the errors that a user can cause. Each message is one line: file, value found, value expected, remedy.
Leaves out: mistakes of our own, which are assertions."""


class ViewgenError(Exception):
    """An error that a user can cause and mend. The command line prints its message alone and exits with code 2."""


class SettingsError(ViewgenError):
    """A TOML file that holds a wrong, misspelt or missing setting."""


class RecipeError(ViewgenError):
    """A recipe whose source cannot be read as questions."""


class ImageError(ViewgenError):
    """An image that cannot be opened safely. A build turns it into rejected questions."""


class ModelError(ViewgenError):
    """A model that is missing, incomplete, or does not fit its own configuration."""


class ShardError(ViewgenError):
    """A view set that is missing, broken, or of another schema version."""


class ReviewsError(ViewgenError):
    """A file of reviews that is missing or malformed."""


class WorkerError(ViewgenError):
    """A worker process of a build that ended before its work was done."""


class QueryError(ViewgenError):
    """A query over a view set that is wrong, or that does more than read its tables."""
