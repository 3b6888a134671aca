"""Learns to translate from parallel text, translates text that it hasn't seen, and measures BLEU.

A folder holds train, val and test with the languages as endings (train.en, train.de, ...), a sentence a line,
as in Multi30k (github.com/multi30k/dataset, data/task1/raw, test_2016_flickr as test). Text is put in lower
case and split into words and marks. `algodock` converts, trains and translates. Run as::

    python examples/translate.py FOLDER [--source en] [--target de] [--work translation] [-p NAME=VALUE ...]
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from containers.seq2seq.bleu import corpus_bleu

ALGODOCK = Path(sys.executable).with_name("algodock")
WORD = re.compile(r"\w+|[^\w\s]")
# A small network, which a CPU can train.
SETTINGS = {
    "rnn_num_hidden": 256,
    "num_embed_source": 128,
    "num_embed_target": 128,
    "rnn_cell_type": "gru",
    "rnn_attention_type": "dot",
    "embed_dropout_source": 0.2,
    "embed_dropout_target": 0.2,
    "rnn_decoder_hidden_dropout": 0.2,
    "learning_rate": 0.003,
    "lr_scheduler_type": "fixed_rate_inv_t",
    "fixed_rate_lr_half_life": 3,
    "checkpoint_frequency_num_batches": 450,
    "bleu_sample_size": 100,
    "max_num_batches": 1800,
}


def tokenised(path: Path) -> list[str]:
    """The sentences of a file, in lower case and with blanks between words and marks."""
    return [" ".join(WORD.findall(line.lower())) for line in path.read_text("utf-8").splitlines()]


def prepare(folder: Path, source: str, target: str, work: Path) -> None:
    """Writes tokenised text, RecordIO and vocabularies."""
    for part in ("train", "val"):
        for language in (source, target):
            (work / f"{part}.{language}").write_text(
                "".join(f"{line}\n" for line in tokenised(folder / f"{part}.{language}")), "utf-8"
            )
    train, val = ([work / f"{part}.{language}" for language in (source, target)] for part in ("train", "val"))
    _run("convert", "--for", "seq2seq", *train, work / "data", "--validation", *val,
         "--word-min-count-source", 3, "--word-min-count-target", 3)  # fmt: skip


def train(work: Path, settings: dict[str, object]) -> None:
    """Trains; the model is in the folder job."""
    values = [text for name, value in settings.items() for text in ("-p", f"{name}={value}")]
    data = work / "data"
    _run("train", "seq2seq", "--train", data / "train", "--validation", data / "validation",
         "--channel", f"vocab={data / 'vocab'}", *values, "--output", work / "job")  # fmt: skip


def translate(work: Path, sentences: list[str]) -> list[str]:
    """The model's translations."""
    rows = work / "test.jsonl"
    rows.write_text("".join(json.dumps({"source": sentence}) + "\n" for sentence in sentences), "utf-8")
    answers = _run("predict", work / "job", rows, "--accept", "application/jsonlines", capture=True)
    return [json.loads(line)["target"] for line in answers.splitlines()]


def _run(*arguments: object, capture: bool = False) -> str:
    done = subprocess.run([ALGODOCK, *map(str, arguments)], check=True, text=True, capture_output=capture)
    return done.stdout or ""


def main() -> None:
    """Prints some translations and BLEU."""
    parser = argparse.ArgumentParser(prog="examples/translate.py")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--source", default="en")
    parser.add_argument("--target", default="de")
    parser.add_argument("--work", type=Path, default=Path("translation"), help="folder for all that is made")
    parser.add_argument("-p", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    prepare(chosen.folder, chosen.source, chosen.target, chosen.work)
    train(chosen.work, {**SETTINGS, **dict(pair.split("=", 1) for pair in chosen.p)})
    sources, references = (
        tokenised(chosen.folder / f"test.{language}") for language in (chosen.source, chosen.target)
    )
    found = translate(chosen.work, sources)
    for source, target in list(zip(sources, found, strict=True))[:5]:
        print(f"{source}\n  {target}")
    score = corpus_bleu([line.split() for line in found], [line.split() for line in references])
    print(f"BLEU of {len(found)} sentences, in lower case and tokenised: {100 * score:.1f}")


if __name__ == "__main__":
    main()
