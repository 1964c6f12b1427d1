"""Errors that a user is meant to read: each names the thing, the value and the remedy.

The command line prints a MosoError as one line and exits with 1; anything else is a bug and keeps its traceback.
"""


class MosoError(Exception):
    """Base of every error that the user can do something about."""


class ConfigError(MosoError):
    """A setting that breaks a rule.

    The message is built from its parts so that no call can leave one out.
    """

    def __init__(self, field: str, value: object, rule: str, remedy: str = "") -> None:
        self.field, self.value, self.rule, self.remedy = field, value, rule, remedy
        message = f"{field} = {value!r}: {rule}"
        super().__init__(f"{message}; {remedy}" if remedy else message)


class DataError(MosoError):
    """A file or record whose content is not what its format says."""


class FormatError(MosoError):
    """A folder written in another format, or another version of it, than this code reads."""


class MismatchError(MosoError):
    """Two artefacts that do not belong together (a token store and a model of different codebooks, say)."""


class CheckpointError(MosoError):
    """A checkpoint that is damaged, or a work folder that another process holds."""


class StopRequested(MosoError):
    """The stop signal was raised; everything needed to go on has been written."""
