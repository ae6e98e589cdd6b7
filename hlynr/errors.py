"""The errors a user can do something about, by what they mean for the exit code.

Each keeps to one line and names what to change. Anything else is a fault of the program and keeps its traceback.
"""

DONE, BAD_INPUT, TRAINING_FAILED, NOT_READY, INTERRUPTED = 0, 2, 3, 4, 130
"""The exit codes of every command; the last is the shell's for Ctrl-C."""


class UserError(Exception):
    """Base of all that is reported as a line instead of a traceback."""

    exit_code = NOT_READY


class InputError(UserError, ValueError):
    """What was asked for cannot be: a setting, an option, a file."""

    exit_code = BAD_INPUT


class TrainingError(UserError, RuntimeError):
    """The training failed."""

    exit_code = TRAINING_FAILED


class EnvironmentNotReady(UserError, RuntimeError):
    """The machine, a store or a service is not as the command needs it."""

    exit_code = NOT_READY
