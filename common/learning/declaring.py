"""Hyperparameters that the algorithms for images share; without torch, which takes a second to import."""

from __future__ import annotations

from typing import Any

from common.hyperparameters import Parameter, boolean, integer, number, text

_EPOCHS = "rising numbers of epochs with commas between them, such as 10,20"


def switch(name: str, meaning: str, default: bool) -> Parameter:
    """``True`` or ``False``, or 1 or 0, as AWS's documents and jobs write it."""
    return boolean(name, meaning, default=default, reader=_flag, accepts="True or False, or 1 or 0")


def epochs(name: str, meaning: str, **rest: Any) -> Parameter:
    """Rising numbers of epochs with commas between them, as a tuple; empty for an empty text."""
    return text(name, meaning, default=(), reader=_epochs, accepts=_EPOCHS, **rest)


def early_stopping(score: str, least: int, patience: int) -> tuple[Parameter, ...]:
    """What `common.learning.stopping.Patience` is set to; ``score`` is what should get better."""
    applies = {"early_stopping": (True,)}
    return (
        switch("early_stopping", f"End when {score} no longer gets better.", default=False),
        integer(
            "early_stopping_min_epochs",
            "Epochs before early stopping may end the training.",
            default=least,
            min=1,
            applies=applies,
        ),
        integer(
            "early_stopping_patience",
            "Epochs without improvement after which training ends.",
            default=patience,
            min=1,
            applies=applies,
        ),
        number(
            "early_stopping_tolerance",
            f"Relative improvement of the best {score} that counts as one.",
            default=0.0,
            min=0,
            max=1,
            applies=applies,
        ),
    )


def _flag(written: str) -> bool:
    found = {"true": True, "1": True, "false": False, "0": False}.get(written.lower())
    if found is None:
        raise ValueError
    return found


def _epochs(written: str) -> tuple[int, ...]:
    parts = [part.strip() for part in written.split(",") if part.strip()]
    found = tuple(int(part) for part in parts if part.isascii() and part.isdigit())
    if len(found) != len(parts) or any(epoch < 1 for epoch in found) or list(found) != sorted(set(found)):
        raise ValueError
    return found
