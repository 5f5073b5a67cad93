"""What can be wrong with a run on disk; the command line has an exit code for each."""

__all__ = ["CorruptRun", "RunLocked"]


class CorruptRun(Exception):
    """A file of a saved run that is there but cannot be read, or is not what was written.

    >>> issubclass(CorruptRun, ValueError)
    False
    """


class RunLocked(Exception):
    """Another process writes into the run directory.

    >>> issubclass(RunLocked, OSError)
    False
    """
