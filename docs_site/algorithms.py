"""The pages of the algorithms: what manifests and declarations say, then the README's own words."""

from __future__ import annotations

import re
from collections.abc import Iterable

from common import manifest
from common.instances import allowed
from common.manifest import ChannelSpec, Manifest, Rules
from docs_site import markdown
from docs_site.markdown import Section
from docs_site.places import DOCS, ROOT, readme_of
from local.describing import as_table

OVERVIEW = "algorithms/index.md"
EXAMPLE = "Worked example"

# Rows and tables of READMEs that say what the manifest does.
_SAID = ("channels", "requests", "answers")
_NAMED = re.compile(r"(?<![\w/`(\[])docs/([\w-]+\.md)")


def overview() -> str:
    """All algorithms in one table."""
    rows = [
        (
            f"[{found.title}]({found.name}.md)",
            f"`{found.name}`",
            "1 or more" if found.training.multi_host else "1",
            ", ".join(found.training.devices),
            ", ".join(found.channels[0].input_modes) if found.channels else "",
            found.summary,
        )
        for found in known()
    ]
    head = ("algorithm", "image", "hosts", "AWS trains it on", "input modes", "what it does")
    return (
        "# Algorithms\n\n"
        f"{len(rows)} algorithms, an image each. `algodock list` prints such a table, and\n"
        "`algodock describe kmeans` what the page of an algorithm says of it.\n\n"
        f"{markdown.table(head, rows)}\n\n"
        "Pages are made of each algorithm's `manifest.toml`, which says what the image takes, prints and\n"
        "answers, of its declaration of hyperparameters, which validates them, and of its README.\n"
    )


def known() -> list[Manifest]:
    """Every algorithm, by title."""
    return sorted(map(manifest.load, manifest.known()), key=lambda found: found.title.lower())


def page(algorithm: Manifest) -> str:
    """The algorithm's page, with links as its README has them."""
    before, sections = markdown.split((ROOT / readme_of(algorithm)).read_text("utf-8"))
    own = {section.title: section for section in sections}
    parts = [before, _glance(algorithm)]
    parts += [_written(own.pop(EXAMPLE))] if EXAMPLE in own else []
    parts += [_channels(algorithm), _bodies(algorithm)]
    parts.append(_hyperparameters(algorithm, own.pop("Hyperparameters")))
    parts.append(_metrics(algorithm))
    parts.append(_where(algorithm))
    parts += [_written(_shorter(section)) for section in own.values()]
    return markdown.prose("\n\n".join(filter(None, parts)) + "\n", lambda line: _NAMED.sub(_linked, line))


def _linked(found: re.Match[str]) -> str:
    """A page that a README names, as a link with the page's title."""
    path = DOCS / found[1]
    if not path.is_file():
        return found[0]
    title = path.read_text("utf-8").partition("\n")[0].removeprefix("# ")
    return f"[{title}](../../docs/{found[1]})"


def _glance(algorithm: Manifest) -> str:
    train = algorithm.training
    facts = (
        ("image", f"`algodock/{algorithm.name}:cpu`" + _also_gpu(algorithm)),
        ("hosts", "one or more" if train.multi_host else "one"),
        ("`model.tar.gz` holds", _codes(algorithm.artifact)),
        ("what tuning may optimize", _objectives(algorithm)),
    )
    return f'!!! abstract "{algorithm.summary}"\n\n' + "\n".join(
        f"    {line}" for line in markdown.table(("", ""), list(facts)).split("\n")
    )


def _objectives(algorithm: Manifest) -> str:
    names = [metric.name for metric in algorithm.metrics if metric.tuning_objective]
    more = f" and {len(names) - 4} more [metrics](#metrics)" if len(names) > 4 else ""
    return _codes(names[:4]) + more or "nothing"


def _also_gpu(algorithm: Manifest) -> str:
    return f", `algodock/{algorithm.name}:gpu`" if "gpu" in algorithm.devices else ""


def _channels(algorithm: Manifest) -> str:
    head = ["channel", "content types, the default first", "input modes", "labels", "what it is"]
    rows = [
        [
            f"`{channel.name}`" + (", required" if channel.required else ""),
            _types(channel),
            ", ".join(channel.input_modes),
            _labels(channel),
            channel.purpose + (f". {channel.notes}" if channel.notes else ""),
        ]
        for channel in algorithm.channels
    ]
    if algorithm.other_channels:
        rows.append(["any other", "any", "", "", algorithm.other_channels])
    place = head.index("labels")
    if not any(row[place] for row in rows):
        for row in [head, *rows]:
            del row[place]
    text = f"## Channels\n\n{markdown.table(head, rows)}"
    whole = [channel.name for channel in algorithm.channels if len(channel.distributions) == 1]
    if whole and algorithm.training.multi_host:
        text += f"\n\nEvery host must see the whole of {_codes(whole)}: FullyReplicated only."
    return text


def _types(channel: ChannelSpec) -> str:
    told = _codes(channel.content_types) or "any"
    if channel.pipe_content_types is not None and "Pipe" in channel.input_modes:
        told += f"; in Pipe mode {_codes(channel.pipe_content_types)}"
    return told


def _labels(channel: ChannelSpec) -> str:
    if channel.labels == "required":
        return "required" + (", values may be missing" if channel.missing else "")
    # Where rows could have some.
    return "ignored" if "text/csv" in channel.content_types and channel.label_size else ""


def _bodies(algorithm: Manifest) -> str:
    spec = algorithm.inference
    default = f"`{spec.default_accept}`"
    if spec.ignores_accept:
        default = "the request's own type, whatever the Accept header says"
    elif spec.answers_alike:
        default = "the request's own type"
    rows = [
        ("requests", _codes(spec.content_types)),
        ("without a Content-Type header", f"`{spec.default_content_type}`"),
        ("answers", _codes(spec.accepts)),
        ("without an Accept header", default),
        ("many models in one endpoint", "yes" if spec.multi_model else "no"),
    ]
    return f"## Requests and answers\n\n{markdown.table(('', ''), rows)}"


def _hyperparameters(algorithm: Manifest, section: Section) -> str:
    start, end = "<!-- hyperparameters -->", "<!-- /hyperparameters -->"
    before, _, rest = section.text.partition(start)
    after = rest.partition(end)[2]
    table = f'<div class="hyperparameters" markdown>\n\n{as_table(algorithm)}\n\n</div>'
    parts = [before.strip(), table, after.strip()]
    return "## Hyperparameters\n\n" + "\n\n".join(filter(None, parts))


def _metrics(algorithm: Manifest) -> str:
    rows = [
        (
            f"`{metric.name}`",
            metric.direction if metric.direction != "none" else "",
            "yes" if metric.tuning_objective else "",
            metric.meaning,
            f"`{metric.regex}`",
        )
        for metric in algorithm.metrics
    ]
    head = ("metric", "better is", "for tuning", "what it is", "in the log")
    words = {"Maximize": "more", "Minimize": "less", "": ""}
    shown = [(name, words.get(better, better), *rest) for name, better, *rest in rows]
    return f"## Metrics\n\n{markdown.table(head, [tuple(row) for row in shown])}"


def _where(algorithm: Manifest) -> str:
    train, answer = algorithm.training, algorithm.inference.rules
    rows = [
        ("training", allowed(train), "one or more" if train.multi_host else "one", _gpus(train), train.notes),
        ("endpoint", allowed(answer), "", _gpus(answer), answer.notes),
    ]
    told = (
        "AWS's rules, by which an instance type is checked. On your own machine nothing is checked unless\n"
        "`--instance-type` names one, and `ALGODOCK_ANY_INSTANCE=1` passes the rules by."
    )
    head = ("", "instances", "hosts", "GPUs of a host", "notes")
    return f"## Instances\n\n{told}\n\n{markdown.table(head, rows)}"


def _gpus(rules: Rules) -> str:
    if "gpu" not in rules.devices:
        return "none"
    return "all are used" if rules.gpus == "all" else "one is used"


def _shorter(section: Section) -> Section:
    """Without what a generated section says: rows of the table of formats, and a table of channels."""
    text = section.text
    if section.title in ("Formats", "Requests and answers"):
        text = markdown.without_rows(text, _SAID)
        title = "More on formats" if section.title == "Formats" else "Bodies"
        return Section(title, _without_empty_tables(text))
    return Section("Bodies", text) if section.title == "Answers" else section


def _without_empty_tables(text: str) -> str:
    """A table of which only the head is left goes too."""
    parts = []
    for part in text.split("\n\n"):
        lines = part.split("\n")
        if len(lines) == 2 and all(line.startswith("|") for line in lines):
            continue
        parts.append(part)
    return "\n\n".join(parts).strip()


def _written(section: Section) -> str:
    return f"## {section.title}\n\n{section.text}" if section.text else ""


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
