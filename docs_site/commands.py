"""The page of the command line, made of its parsers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from docs_site import markdown
from local.cli import _parser

PAGE = "command-line.md"


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The commands of `algodock` and what reads their options."""
    for action in _parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("algodock has no commands")


def page() -> str:
    """Every command with its arguments, options and an example."""
    parts = [
        "# The command line",
        "`make setup` puts three programs into `.venv/bin`. `train` and `serve` are those of the images:\n"
        "they take no arguments and read [the contract's folder](contract.md) and\n"
        "[the environment](environment.md). `algodock` plays SageMaker on your machine. Its exit code is 0,\n"
        "1 for what went wrong, told in one sentence, or 2 for a command line that can't be read.",
    ]
    for name, parser in parsers().items():
        parts += [f"## algodock {name}", f"{_sentence(parser.description or '')}"]
        rows = list(_rows(parser))
        if rows:
            parts.append(markdown.table(("argument", "meaning"), rows))
        example = (parser.epilog or "").removeprefix("example:\n")
        parts.append(f"```sh\n{_outdented(example)}\n```")
    return "\n\n".join(parts) + "\n"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _outdented(text: str) -> str:
    return "\n".join(line.removeprefix("  ") for line in text.split("\n"))


def _rows(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        written = ", ".join(f"`{option}`" for option in action.option_strings) or f"`{action.dest}`"
        yield written + _value(action), _meaning(action)


def _value(action: argparse.Action) -> str:
    if not action.option_strings or action.nargs == 0:
        return ""
    names = action.metavar or action.dest.upper()
    shown = " ".join(names) if isinstance(names, tuple) else str(names)
    if action.choices and not action.metavar:
        return ""
    return f" `[{shown}]`" if action.nargs == "?" else f" `{shown}`"


def _meaning(action: argparse.Action) -> str:
    told = [action.help or ("the name of its image" if action.dest == "algorithm" else "")]
    if action.choices:
        told.append(" or ".join(f"`{choice}`" for choice in action.choices))
    if action.required and action.option_strings:
        told.append("required")
    if action.default not in (None, False, [], "") and "default" not in told[0] and action.option_strings:
        told.append(f"default: {action.default}")
    if action.nargs == "?" and not action.option_strings and "left out" not in told[0]:
        told.append("may be left out")
    if isinstance(action.default, list):
        told.append("may be repeated" if "repeated" not in told[0] else "")
    return "; ".join(filter(None, told))
