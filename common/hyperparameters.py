"""Typed declarations of hyperparameters, said once: validation, `describe`, docs and tuning read them.

SageMaker hands every value over as a string. What a user got wrong is collected and told at once, one
sentence a fault.
"""

from __future__ import annotations

import ast
import difflib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from common.failures import ClientError, one_of, printable

Kind = Literal["int", "float", "bool", "enum", "list", "str"]
Rule = Callable[["Values"], str | None]
"""A check between parameters: the fault in one sentence, or None."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Over what range AWS's documents recommend tuning a parameter."""

    range: tuple[Any, ...]  # (low, high) for numbers, all values for enums and what is Categorical
    scaling: str | None = None  # Linear, Logarithmic, ReverseLogarithmic, Categorical, Auto


@dataclass(frozen=True, slots=True)
class Parameter:
    """One hyperparameter. Build it with `integer`, `number`, `boolean`, `choice`, `listing` or `text`."""

    name: str
    kind: Kind
    meaning: str
    required: bool = False
    default: Any = None
    min: float | None = None
    max: float | None = None
    exclusive_min: bool = False
    exclusive_max: bool = False
    choices: tuple[str, ...] = ()
    also: tuple[str, ...] = ()  # words accepted besides a value of the kind, such as "auto"
    tuning: Tuning | None = None
    applies: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # resolved values it needs to matter
    aliases: tuple[str, ...] = ()
    documented: bool = True
    reader: Callable[[str], Any] | None = (
        None  # reads a form of its own; raises ValueError for what it doesn't take
    )
    accepts: str = ""  # what may be written, in words, where a reader makes the kind's words wrong
    refusal: str = ""  # AWS's own sentence on a {value} that isn't accepted, where it is known

    def read(self, raw: object) -> Any:
        """The value of what a user wrote. Raises ValueError that says what is accepted."""
        text = _text(raw)
        for word in self.also:
            if text.lower() == word:
                return word
        try:
            value = self.reader(text) if self.reader else _READERS[self.kind](text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            raise ValueError(self.accepted()) from None
        if self.kind == "enum":
            matching = [item for item in self.choices if item.lower() == value.lower()]
            if not matching:
                raise ValueError(self.accepted())
            return matching[0]
        if (
            self.kind == "list"
            and self.choices
            and not (value and all(item in self.choices for item in value))
        ):
            raise ValueError(self.accepted())
        if self.kind in ("int", "float") and not self._in_range(value):
            raise ValueError(self.accepted())
        return value

    def _in_range(self, value: float) -> bool:
        if self.min is not None and (value < self.min or (self.exclusive_min and value == self.min)):
            return False
        return not (self.max is not None and (value > self.max or (self.exclusive_max and value == self.max)))

    def accepted(self) -> str:
        """What may be written, for messages and documents: ``an integer of at least 1, or auto``."""
        if self.accepts:
            return self.accepts
        nouns = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "a text"}
        if self.kind == "enum":
            return one_of([*self.choices, *self.also])
        if self.kind == "list":
            noun = f"a list of {one_of(self.choices)}" if self.choices else "a list"
        else:
            noun = nouns[self.kind]
        bounds = []
        if self.min is not None:
            bounds.append(f"{'above' if self.exclusive_min else 'of at least'} {self.min:.15g}")
        if self.max is not None:
            bounds.append(f"{'below' if self.exclusive_max else 'at most'} {self.max:.15g}")
        return " ".join([noun, *(" and ".join(bounds),) * bool(bounds)]) + "".join(
            f", or {word}" for word in self.also
        )

    def described(self) -> dict[str, Any]:
        """The declaration as data, for ``algodock describe --json``."""
        return {
            "name": self.name,
            "type": self.kind,
            "required": self.required,
            "default": self.default,
            "min": self.min,
            "max": self.max,
            "exclusive_min": self.exclusive_min,
            "exclusive_max": self.exclusive_max,
            "choices": list(self.choices) or None,
            "also_accepts": list(self.also),
            "aliases": list(self.aliases),
            "tunable": self.tuning is not None,
            "tuning_range": list(self.tuning.range) if self.tuning else None,
            "scaling": self.tuning.scaling if self.tuning else None,
            "applies_when": {name: list(values) for name, values in self.applies.items()},
            "documented": self.documented,
            "meaning": self.meaning,
        }


def integer(name: str, meaning: str, **rest: Any) -> Parameter:
    """A whole number; see `Parameter` for the rest."""
    return Parameter(name, "int", meaning, **rest)


def number(name: str, meaning: str, **rest: Any) -> Parameter:
    """A finite real number."""
    return Parameter(name, "float", meaning, **rest)


def boolean(name: str, meaning: str, **rest: Any) -> Parameter:
    """``true`` or ``false`` in any case, as Python's and JSON's clients write it."""
    return Parameter(name, "bool", meaning, **rest)


def choice(name: str, meaning: str, *choices: str, **rest: Any) -> Parameter:
    """One of some words."""
    return Parameter(name, "enum", meaning, choices=choices, **rest)


def listing(name: str, meaning: str, *choices: str, **rest: Any) -> Parameter:
    """A list: JSON, Python's spelling, or values with commas between them."""
    return Parameter(name, "list", meaning, choices=choices, **rest)


def text(name: str, meaning: str, **rest: Any) -> Parameter:
    """Any text."""
    return Parameter(name, "str", meaning, **rest)


class Values(Mapping[str, Any]):
    """Resolved hyperparameters: defaults with a user's values over them.

    ``given`` are the names the user wrote; ``internal`` what came undeclared: with a leading underscore, or
    whatever else a declaration takes that is open.
    """

    def __init__(self, values: Mapping[str, Any], given: Sequence[str], internal: Mapping[str, str]) -> None:
        self._values = dict(values)
        self.given = frozenset(given)
        self.internal = dict(internal)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def as_texts(self) -> dict[str, str]:
        """Every value as hyperparameters.json has it: a text, tuples with commas, nothing as an empty one."""
        return {name: _written(value) for name, value in self._values.items()}


class Declaration:
    """All hyperparameters of one algorithm, and the rules between them.

    ``rules`` tell faults. ``idle`` tell what a user gave in vain, where ``applies`` can't say it. One that is
    ``open`` takes undeclared names too: a user's script has names of its own.
    """

    def __init__(
        self,
        *parameters: Parameter,
        rules: Sequence[Rule] = (),
        idle: Sequence[Rule] = (),
        open: bool = False,
    ) -> None:
        self.parameters = parameters
        self.open = open
        self.rules = tuple(rules)
        self.idle = tuple(idle)
        self._by_name = {parameter.name: parameter for parameter in parameters}
        self._canonical = {alias: parameter.name for parameter in parameters for alias in parameter.aliases}

    def __getitem__(self, name: str) -> Parameter:
        return self._by_name[name]

    def defaults(self) -> dict[str, Any]:
        """What each parameter is when a user leaves it out."""
        return {parameter.name: parameter.default for parameter in self.parameters}

    def takes_any(self, written: Mapping[str, object]) -> bool:
        """Whether a job with these hyperparameters may have any others."""
        return self.open

    def resolve(self, written: Mapping[str, object]) -> Values:
        """Validates what a user wrote. Raises ClientError with every fault, one sentence each."""
        faults: list[str] = []
        values: dict[str, Any] = {}
        internal: dict[str, str] = {}
        for spelled, raw in written.items():
            name = self._canonical.get(spelled, spelled)
            parameter = self._by_name.get(name)
            if parameter is None:
                if self.open or spelled.startswith("_"):
                    internal[spelled] = _text(raw)
                else:
                    faults.append(self.unknown(spelled))
                continue
            if name in values:
                faults.append(f"hyperparameter {name} is given twice, as {spelled} too")
                continue
            try:
                values[name] = parameter.read(raw)
            except ValueError as error:
                faults.append(
                    parameter.refusal.format(value=_shown(raw)[1:-1])
                    if parameter.refusal
                    else f"hyperparameter {spelled} is {_shown(raw)}; accepted: {error}"
                )
                values[name] = parameter.default
        faults += [
            f"hyperparameter {parameter.name} is missing; accepted: {parameter.accepted()}"
            for parameter in self.parameters
            if parameter.required and parameter.name not in values
        ]
        resolved = Values({**self.defaults(), **values}, list(values), internal)
        if not faults:
            faults += [fault for rule in self.rules if (fault := rule(resolved))]
        if faults:
            raise ClientError("; ".join(faults))
        return resolved

    def without_effect(self, values: Values) -> list[str]:
        """One sentence for each given parameter that other settings make meaningless."""
        sentences = []
        for name in sorted(values.given):
            for other, needed in self._by_name[name].applies.items():
                if values[other] not in needed:
                    sentences.append(
                        f"hyperparameter {name} has no effect: it applies when {other} is "
                        f"{one_of(_plain(value) for value in needed)}, and {other} is {_plain(values[other])}"
                    )
                    break
        return sentences + [sentence for rule in self.idle if (sentence := rule(values))]

    def unknown(self, name: str) -> str:
        """The fault of a name that isn't declared, with the nearest that is."""
        known = [*self._by_name, *self._canonical]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"known are {one_of(n for n in known if n[0] != '_')}"
        return f"hyperparameter {_shown(name)[1:-1] or _shown(name)} is unknown; {hint}"


def _text(raw: object) -> str:
    if isinstance(raw, str):
        stripped = raw.strip()
        # Newer SageMaker SDKs send JSON-encoded strings: "\"reg:squarederror\"".
        while len(stripped) >= 2 and stripped[0] == stripped[-1] and stripped[0] in "\"'":
            stripped = stripped[1:-1].strip()
        return stripped
    return json.dumps(raw)


def _shown(raw: object) -> str:
    shown = raw if isinstance(raw, str) else json.dumps(raw)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return f"'{printable(shown)}'"


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _integer(written: str) -> int:
    # int() also takes 1_000, blanks and other scripts' digits, which AWS's schema refuses.
    if (
        not written.isascii()
        or not written.removeprefix("-").removeprefix("+").isdigit()
        or len(written) > 20
    ):
        raise ValueError
    return int(written)


def _number(written: str) -> float:
    value = float(written)
    if not math.isfinite(value) or "_" in written:
        raise ValueError
    return value


def _boolean(written: str) -> bool:
    if written.lower() not in ("true", "false"):
        raise ValueError
    return written.lower() == "true"


def _listing(written: str) -> list[Any]:
    if written[:1] in ("[", "("):
        with suppress(ValueError, SyntaxError):
            return list(ast.literal_eval(written))
        # SageMaker's Spark library writes words without quotes: [ssd, msd].
        if not re.fullmatch(r"[\[(][\w\s,.:@+-]*[\])]", written):
            raise ValueError
        written = written[1:-1]
    return [part.strip().strip("\"'") for part in written.split(",") if part.strip()]


_READERS: dict[str, Callable[[str], Any]] = {
    "int": _integer,
    "float": _number,
    "bool": _boolean,
    "enum": str,
    "list": _listing,
    "str": str,
}
