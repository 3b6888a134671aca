"""JPEG files to mini-batches of augmented 224x224 images, against PyTorch's DataLoader with Pillow.

Both have two workers and read the same files, bring the shorter side to 256 pixels (bilinearly), cut out
224x224 at random, mirror half of them and hand over uint8 batches of 32 in memory that workers share. The
peer is the dataset that most training scripts have; ours is image classification's own loader with
augmentation_type=crop. Rounds take turns; the best of each counts. FOLDER is one with .jpg files; without
one, noise of several scales is made, 500x375 pixels and 70 KB an image. Ours decodes a JPEG at the smallest
scale that is enough, as it does in a job. Run as::

    python -m bench.image_loading [FOLDER] [--images 600] [--rounds 3] [--workers 2]
        [--peer-python PATH]

where PATH is a Python that has mxnet, such as the one that ``make test-interop`` makes: its ImageRecordIter
then reads the same images as records. On fewer than six processors it decodes on one thread, whatever is
asked for: compare it with ``--workers 1``.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from common.formats import recordio
from common.images import records
from common.images.loading import Loader
from common.images.sources import FilePart, Item
from containers.image_classification.augmenting import Prepare

SIZE, SHORTER, BATCH = 224, 256, 32


def write_jpegs(folder: Path, count: int) -> list[Path]:
    """Makes files about as hard to decode as photographs: noise of several scales, 500x375 pixels."""
    generator = np.random.default_rng(0)
    paths = []
    for number in range(count):
        pixels = np.zeros((375, 500, 3), np.float32)
        for scale in (4, 16, 64, 128):
            noise = generator.normal(size=(scale, scale, 3)).astype(np.float32)
            pixels += cv2.resize(noise, (500, 375), interpolation=cv2.INTER_CUBIC) * (40 / scale**0.25)
        paths.append(folder / f"{number}.jpg")
        cv2.imwrite(str(paths[-1]), np.clip(pixels + 128, 0, 255).astype(np.uint8))
    return paths


class Photographs(Dataset):
    """The peer's: one image opened by Pillow at a time."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, float]:
        image = Image.open(self._paths[index]).convert("RGB")
        ratio = SHORTER / min(image.size)
        image = image.resize([round(side * ratio) for side in image.size], Image.Resampling.BILINEAR)
        left, top = random.randint(0, image.width - SIZE), random.randint(0, image.height - SIZE)
        image = image.crop((left, top, left + SIZE, top + SIZE))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.array(image), 0.0


def ours(loader: Loader, paths: list[Path], epoch: int) -> Iterator[int]:
    """Counts of batches, as they come. Workers read the files, as in a job in File mode."""
    items = (Item(FilePart(str(path)), np.zeros(1, np.float32), path.name) for path in paths)
    for batch in loader.epoch(items, epoch):
        yield batch.count


def theirs(peer: DataLoader) -> Iterator[int]:
    """The same of the DataLoader."""
    for images, _ in peer:
        yield len(images)


def mxnet(python: str, paths: list[Path], folder: Path, rounds: int, threads: int) -> float:
    """Images a second of MXNet's reader over the same images as records."""
    with (folder / "peer.rec").open("wb") as file:
        for number, path in enumerate(paths):
            file.write(recordio.frame(records.pack(0.0, path.read_bytes(), number)))
    peer = Path(__file__).with_name("mxnet_peer.py")
    command = [python, peer, "loading", file.name, str(rounds), str(threads)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split()[-1])


def seconds(batches: Iterator[int], expected: int) -> float:
    """How long an epoch takes; every image must come."""
    started = time.perf_counter()
    count = sum(batches)
    taken = time.perf_counter() - started
    if count != expected:
        raise SystemExit(f"{count} of {expected} images came")
    return taken


def main() -> None:
    """Prints both sides and the ratio."""
    parser = argparse.ArgumentParser(prog="python -m bench.image_loading")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=600, help="how many an epoch has")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--peer-python", help="a Python that has mxnet")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        found = (
            sorted(chosen.folder.rglob("*.jpg"))
            if chosen.folder
            else write_jpegs(Path(scratch), chosen.images)
        )
        if not found:
            raise SystemExit(f"{chosen.folder} holds no .jpg files")
        paths = [found[number % len(found)] for number in range(chosen.images)]
        peer = DataLoader(Photographs(paths), BATCH, num_workers=chosen.workers, persistent_workers=True)
        prepare = Prepare((3, SIZE, SIZE), 1, SHORTER, "crop")
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        with Loader(prepare, prepare.shapes, BATCH, chosen.workers, 0) as loader:
            for turn in range(chosen.rounds + 1):  # the first starts the workers
                # Neither begins before its turn: a DataLoader's iterator prefetches as soon as it is made.
                epochs = {"ours": ours(loader, paths, turn), "theirs": theirs(peer)}
                for name, batches in epochs.items():
                    taken = seconds(batches, len(paths))
                    if turn:
                        times[name].append(taken)
        best = {name: len(paths) / min(values) for name, values in times.items()}
        if chosen.peer_python:
            best["mxnet"] = mxnet(chosen.peer_python, paths, Path(scratch), chosen.rounds, chosen.workers)
    print(f"image classification's loader:  {best['ours']:7.0f} images/s")
    print(f"DataLoader with Pillow:         {best['theirs']:7.0f} images/s")
    print(f"{best['ours'] / best['theirs']:.1f}x, {chosen.workers} workers each")
    if "mxnet" in best:
        print(f"MXNet's ImageRecordIter:        {best['mxnet']:7.0f} images/s")
        print(f"{best['ours'] / best['mxnet']:.1f}x")


if __name__ == "__main__":
    main()
