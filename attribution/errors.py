"""Errors of the engine: each is one sentence that says what is wrong and what to do about it."""


class TracefixError(Exception):
    """Base of every error the user can mend; its text is one sentence with the way out."""


class UsageError(TracefixError):
    """The request itself cannot be understood (command line exit status 2)."""


class ProjectError(TracefixError):
    """A project directory is missing, half made, unreadable or not a project."""


class NotFoundError(TracefixError):
    """An example, method, fix, sample or measurement of that name does not exist."""


class MissingRequirementError(TracefixError):
    """A method needs something this project does not have (checkpoints, a training record, a package)."""


class NumericalError(TracefixError):
    """A computation gave NaN or infinity, or did not converge; nothing was stored."""


class Cancelled(TracefixError):
    """The user asked the running work to stop; nothing half-written is left behind."""
