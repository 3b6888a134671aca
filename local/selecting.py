"""The JSONPath of batch transform's filters: ``$``, names, indices, slices, several of them, and ``*``.

Several names keep an object of those, several places a list of those, as the documented examples
``$['id','SageMakerOutput']`` and ``$[0,5:]`` show.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from common.failures import ClientError

_MOST = 63  # characters, of a request's
_STEP = re.compile(r"\.(?P<name>[A-Za-z_][\w-]*)|\.(?P<all>\*)|\[(?P<inside>[^\]]*)\]")
_NAME = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_PLACE = re.compile(r"(-?\d*):(-?\d*)|(-?\d+)")
Selection = Callable[[Any], Any]


def selection(path: str) -> Selection:
    """What a path picks out of a record. Raises ClientError for a path that isn't read."""
    steps: list[Selection] = []
    at = 1
    if not path.startswith("$") or len(path) > _MOST:
        raise _refused(path)
    while at < len(path):
        found = _STEP.match(path, at)
        if not found:
            raise _refused(path)
        at = found.end()
        if found["name"]:
            steps.append(_named([found["name"]], path, alone=True))
        elif found["all"] or found["inside"].strip() == "*":
            steps.append(lambda value: list(value.values()) if isinstance(value, dict) else value)
        else:
            steps.append(_inside(found["inside"], path))

    def pick(record: Any) -> Any:
        for step in steps:
            record = step(record)
        return record

    return pick


def _inside(text: str, path: str) -> Selection:
    parts = [part.strip() for part in text.split(",")]
    names = [_NAME.fullmatch(part) for part in parts]
    if all(names):
        return _named([found[1] or found[2] or "" for found in names if found], path, alone=len(parts) == 1)
    places = [_PLACE.fullmatch(part) for part in parts]
    if not all(places):
        raise _refused(path)
    wanted: list[int | slice] = []
    for found in places:
        assert found is not None
        if found[3] is not None:
            wanted.append(int(found[3]))
        else:
            wanted.append(slice(*(int(end) if end else None for end in (found[1], found[2]))))
    return _placed(wanted, path)


def _named(names: list[str], path: str, alone: bool) -> Selection:
    def pick(value: Any) -> Any:
        missing = [name for name in names if not isinstance(value, dict) or name not in value]
        if missing:
            raise ClientError(f"{path}: there is no {missing[0]}")
        return value[names[0]] if alone else {name: value[name] for name in names}

    return pick


def _placed(wanted: list[int | slice], path: str) -> Selection:
    alone = len(wanted) == 1 and isinstance(wanted[0], int)

    def pick(value: Any) -> Any:
        if not isinstance(value, list):
            raise ClientError(f"{path}: that is no list")
        found: list[Any] = []
        for place in wanted:
            if isinstance(place, slice):
                found += value[place]
            elif -len(value) <= place < len(value):
                found.append(value[place])
            else:
                raise ClientError(f"{path}: there is no place {place}; there are {len(value)}")
        return found[0] if alone else found

    return pick


def _refused(path: str) -> ClientError:
    return ClientError(
        f"filter {path!r} isn't read; accepted: $ with .name, ['name','name'], [0], [1:], [0,5:] or [*], of "
        f"at most {_MOST} characters"
    )
