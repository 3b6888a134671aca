"""The documentation: its site builds without a warning, fetches nothing, and its commands work."""

import argparse
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common import manifest
from docs_site import commands, examples, markdown
from docs_site.places import DOCS, ROOT, readme_of

ALGORITHMS = {readme_of(manifest.load(name)): name for name in manifest.known()}
FILES = [
    *(path.relative_to(ROOT).as_posix() for path in sorted(DOCS.glob("*.md"))),
    *("README.md", "CONTRIBUTING.md", "examples/README.md"),
    *ALGORITHMS,
]
TUTORIAL = "docs/adding-an-algorithm.md"
RUN = [file for file in FILES if markdown.runnable((ROOT / file).read_text("utf-8"))]
# More than some seconds of a processor.
SLOW = {"forecasting-deepar", "image-classification", "object2vec", "seq2seq"}
# A test can't: ten minutes, two minutes.
NOT_RUN = {"object-detection", "semantic-segmentation"}

ENDS = frozenset(("|", "||", "&", "&&", ";", ">", ">>", "<", "2>", "2>&1"))


def text_of(file):
    return (ROOT / file).read_text("utf-8")


class Assets(HTMLParser):
    """What a page fetches by itself."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "link" and attributes.get("rel") in ("prev", "next", "canonical", "edit"):
            return
        fetching = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
        if tag in fetching and attributes.get(fetching[tag]):
            self.found.append(attributes[fetching[tag]])


def test_the_site_is_built_strictly_is_whole_and_fetches_nothing(tmp_path):
    """One test, so that the site is built once however many processes share the tests."""
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr

    pages = {page.relative_to(tmp_path).as_posix(): page for page in sorted(tmp_path.rglob("*.html"))}
    contents = {name: page.read_text("utf-8") for name, page in pages.items()}
    assert {path.with_suffix(".html").name for path in DOCS.glob("*.md")} <= set(contents)
    for name, content in contents.items():
        assert str(ROOT) not in content
        for address in assets_of(content):
            assert not address.startswith(("http:", "https:", "//")), f"{name} fetches {address}"
    for sheet in tmp_path.rglob("*.css"):
        found = re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)\"']*", sheet.read_text("utf-8"))
        assert not found, f"{sheet.name} fetches {found}"
    for name in manifest.known():
        check_algorithm(manifest.load(name), contents[f"algorithms/{name}.html"])


def assets_of(content):
    parser = Assets()
    parser.feed(content)
    assert parser.found
    return parser.found


def check_algorithm(found, page):
    """An algorithm's page says all that its manifest and declaration do."""
    names = [parameter.name for parameter in found.declaration().parameters]
    names += [channel.name for channel in found.channels]
    names += [metric.name for metric in found.metrics]
    names += [*found.inference.content_types, *found.inference.accepts, *found.artifact]
    for word in names:
        shown = word.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert f"<code>{shown}</code>" in page, f"{found.name}: {word}"
    assert page.count('id="worked-example"') == 1
    assert 'class="pictures"' in page


def test_pictures_of_examples_are_small_and_shown():
    shown = {name for file in FILES for name in re.findall(r"pictures/([\w.-]+\.svg)", text_of(file))}
    assert {path.name for path in (DOCS / "pictures").iterdir()} == shown
    for path in (DOCS / "pictures").iterdir():
        content = path.read_text("utf-8")
        assert len(content) < 80_000
        assert "prefers-color-scheme: dark" in content
        assert "http" not in content.replace("http://www.w3.org/", "")


def test_every_algorithm_has_a_worked_example():
    run = {ALGORITHMS[file] for file in RUN if file in ALGORITHMS}
    assert run == set(ALGORITHMS.values()) - NOT_RUN
    for file in ALGORITHMS:
        titles = [section.title for section in markdown.split(text_of(file))[1]]
        assert titles.count("Worked example") == 1, file


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=pytest.mark.slow) if ALGORITHMS.get(file) in SLOW else file
        for file in RUN
        if file != TUTORIAL
    ],
)
def test_commands_run_as_they_stand(file, tmp_path):
    examples.prepare(tmp_path)
    run(markdown.runnable(text_of(file)), tmp_path)


def test_the_tutorials_algorithm_works(tmp_path):
    text = text_of(TUTORIAL)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers/__init__.py").touch()
    for package in ("common", "serve", "local"):
        (tmp_path / package).mkdir()
        for path in (ROOT / package).iterdir():
            (tmp_path / package / path.name).symlink_to(path)
    # Algorithms are looked for beside this file.
    (tmp_path / "common/manifest.py").unlink()
    shutil.copy(ROOT / "common/manifest.py", tmp_path / "common/manifest.py")
    files = re.findall(r'^```\w+ title="([\w./]+)"\n(.*?)^```$', text, re.DOTALL | re.MULTILINE)
    assert len(files) == 5
    for name, content in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, "utf-8")
    told = run(markdown.runnable(text), tmp_path, {"PYTHONPATH": str(tmp_path)})
    assert "Nearest mean (nearest-mean)" in told
    assert float(re.findall(r"train accuracy <score>=(\S+)", told)[0]) > 0.8
    assert '"predicted_label": 7.0' in told


def run(blocks, folder, environment=None):
    settings = {"ALGODOCK_NUM_THREADS": "1", **(environment or {})}
    try:
        return examples.run(blocks, folder, settings)
    except subprocess.CalledProcessError as error:
        pytest.fail(f"exit code {error.returncode}: {error.stdout[-3000:]}", pytrace=False)


def test_blocks_are_found():
    text = "a\n\n```console\nls\n```\n\n    one\n\n    two\nb\n```sh title=x\n# y\n```\n\n    last"
    assert [(block.language, block.text) for block in markdown.blocks(text)] == [
        ("console", "ls"),
        ("", "one\n\ntwo"),
        ("sh", "# y"),
        ("", "last"),
    ]
    assert markdown.runnable(text) == ["ls"]


def test_blocks_of_python_are_python():
    for file in FILES:
        for block in markdown.blocks(text_of(file)):
            if block.language == "python":
                compile(block.text, file, "exec")


def lines_of(text):
    """Every `algodock` command of blocks, continued lines joined; those in the text may be cut short."""
    for block in markdown.blocks(text):
        for line in re.sub(r"\\\n\s*", " ", block.text).split("\n"):
            for found in re.finditer(r"(?:^|[|&;$] |=\S+ )\s*algodock (.*)", line):
                yield found[1], True
    outside = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for found in re.finditer(r"`algodock ([^`]+)`", outside):
        yield found[1], False


def programs_of(text):
    """Every `python examples/NAME.py` of blocks and of the text, as a program's name and its arguments."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for found in re.finditer(r"python (examples/\w+\.py)([^`\n]*)", joined):
        yield found[1], arguments_of(found[2])


class Parsed(Exception):
    """A program's arguments are those that it takes."""


def test_examples_are_given_the_arguments_that_they_take(monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def parse_args(self, *given):
        parse(self, *given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    given = [(file, *one) for file in FILES for one in programs_of(text_of(file))]
    given = [one for one in given if "argparse" in text_of(one[1])]  # others take none, and begin at once
    assert len(given) > 5
    for file, program, arguments in given:
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        try:
            runpy.run_path(str(ROOT / program), run_name="__main__")
        except Parsed:
            continue
        except SystemExit:
            pytest.fail(f"{file}: python {program} {' '.join(arguments)}", pytrace=False)


@pytest.mark.parametrize(("kind", "shapes"), [("classification", 1), ("detection", 2), ("segmentation", 2)])
def test_a_photo_to_ask_about_shows_as_many_shapes_as_are_told(kind, shapes, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["shapes.py", kind, str(tmp_path)])
    colours = runpy.run_path(str(ROOT / "examples/shapes.py"), run_name="__main__")["COLOURS"]
    photo = np.asarray(Image.open(tmp_path / "photo.jpg"), int)
    shown = [np.abs(photo - colour).max(axis=2) < 20 for colour in colours.values()]
    assert sum(pixels.sum() > 400 for pixels in shown) == shapes


def arguments_of(line):
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    return list(takewhile(lambda token: token not in ENDS, lexer))


@pytest.mark.parametrize("file", FILES)
def test_options_are_those_of_the_command(file):
    for line, whole in lines_of(text_of(file)):
        given = [argument for argument in arguments_of(line) if argument != "..."]
        if not given or given[0] == "COMMAND":
            continue
        assert given[0] in commands.parsers(), f"{file}: algodock {line}"
        parser = commands.parsers()[given[0]]
        if whole and "..." not in line:
            check(parser, given[1:], f"{file}: algodock {line}")
        for option in (argument for argument in given if re.match(r"-[-a-z]", argument)):
            if "--for" not in given:
                assert option.partition("=")[0] in parser._option_string_actions, f"{file}: algodock {line}"


def check(parser, given, where):
    parser.exit_on_error = False
    try:
        chosen = parser.parse_args(given)
    except (argparse.ArgumentError, SystemExit) as error:
        pytest.fail(f"{where}: {error}", pytrace=False)
    if where.endswith("||"):
        return  # shows what is refused
    if getattr(chosen, "algorithm", None) in manifest.known() and hasattr(chosen, "hyperparameter"):
        declared = manifest.load(chosen.algorithm).declaration()
        written = dict(pair.split("=", 1) for pair in chosen.hyperparameter)
        unknown = set(written) - {parameter.name for parameter in declared.parameters}
        assert declared.takes_any(written) or not unknown, f"{where}: {unknown}"


def test_sections_and_links():
    text = "# T\nhead\n\n## A\n```\n## no\n```\n\n## B\n[x](../y.md) `[z](q)` ![p](p.png)"
    before, sections = markdown.split(text)
    assert before == "# T\nhead"
    assert [section.title for section in sections] == ["A", "B"]
    changed = markdown.links(text, lambda mark, words, target: f"<{mark}{words}:{target}>")
    assert changed.endswith("<x:../y.md> `[z](q)` <!p:p.png>")


def test_places_that_are_written_exist():
    """Files that pages name in code, such as `tests/data`, are there."""
    elsewhere = {"containers/nearest_mean", "common/sagemaker_rl"}
    pattern = r"`((?:tests|examples|common|serve|local|containers|bench|kubernetes)/[\w./-]*)`"
    for file in FILES:
        for place in re.findall(pattern, text_of(file)):
            assert (ROOT / place).exists() or place in elsewhere, f"{file}: {place}"


def test_a_readmes_links_lead_to_files():
    for file in FILES:
        folder = Path(ROOT / file).parent

        def there(mark, words, target, folder=folder, file=file):
            path = target.partition("#")[0]
            made = target.startswith("algorithms/") or path == "command-line.md"
            outside = target.startswith(("http", "#", "mailto"))
            assert outside or made or (folder / path).exists(), f"{file}: {target}"
            return ""

        markdown.links(text_of(file), there)
