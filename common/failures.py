"""The two ways a job or a request can fail, and how each is told.

SageMaker shows a user the first 1,024 characters of ``/opt/ml/output/failure``, and the first word tells
whose fault it was: ``ClientError`` (the data or the configuration) or ``AlgorithmError`` (this program).
"""

from __future__ import annotations

from collections.abc import Iterable

EXIT_CODE = 1


class ClientError(Exception):
    """What a user got wrong, in one sentence: what, where, and what is accepted.

    ``status`` is the HTTP status when the mistake was in a request.
    """

    status = 400

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        if status is not None:
            self.status = status


class AlgorithmError(Exception):
    """A fault of ours or of the machine's; the trace goes to the log."""

    status = 500


def one_of(choices: Iterable[object]) -> str:
    """Reads ``a, b or c``: how every message lists what is accepted."""
    names = [str(choice) for choice in choices]
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} or {names[-1]}"


def describe(error: BaseException) -> str:
    """The failure file's text: the message alone, with the class that says whose fault it was."""
    if isinstance(error, ClientError):
        return printable(f"ClientError: {error}")
    if isinstance(error, AlgorithmError):
        return printable(f"AlgorithmError: {error}")
    return printable(f"AlgorithmError: {type(error).__name__}: {error}")


def printable(text: str) -> str:
    """``text`` on one line that any file takes: what a user wrote may hold anything, half a letter too."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
