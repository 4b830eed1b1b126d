"""The two ways in which a command ends badly with one line instead of a traceback."""


class InputError(ValueError):
    """The request is bad: an option, a path or a file is not what it has to be. Exit status 2.

    The message is one line that names what was found and what was expected.
    """


class RunError(RuntimeError):
    """The request was good, but the work could not be finished (a full disk, say). Exit status 1.

    The message is one line that says what happened and what is safe on disk.
    """


class FormatError(InputError):
    """A file is not a strathack shard, or is one of a version that this release does not know."""


class CorruptionError(FormatError):
    """Something in a file is not as it was written; the message names the file, the array and the steps."""
