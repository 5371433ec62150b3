"""Errors that speak to the user: each says what was wrong and what to do.

A1111's API layer reads ``status_code`` and ``detail`` from the raised instance, so a refused request is answered
with 422 and the sentence, not with a stack trace and 500.
"""


class AnimateDiffError(Exception):
    """Anything that keeps AnimateDiff from making the requested animation; the message is a sentence for the user."""

    status_code = 500

    def __init__(self, message: str):
        super().__init__(message)
        self.status_code = type(self).status_code
        self.detail = message


class RequestError(AnimateDiffError):
    """A request whose field is unknown, has a wrong type or lies outside its bounds.

    ``field`` is its name in the API, ``label`` the one in the panel.
    """

    status_code = 422

    def __init__(self, field: str, message: str, label: str = ""):
        named = f"{label} ({field})" if label else field
        super().__init__(f"AnimateDiff, {named}: {message}")
        self.field = field


class ModelFileError(AnimateDiffError):
    """A file that is not a motion module this extension can use; the message says what it is and where it belongs."""

    status_code = 422


class UnsupportedError(AnimateDiffError):
    """Something the running host, checkpoint or combination of settings cannot serve."""

    status_code = 422


class VideoWriteError(AnimateDiffError):
    """One format of the output could not be written; the others are not affected."""
