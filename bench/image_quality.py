"""How well networks for images learn from nothing, in jobs on real pictures: the metrics of the last epochs.

    python -m bench.image_quality digits FOLDER     *-images-idx3-ubyte.gz and *-labels-idx1-ubyte.gz of MNIST
    python -m bench.image_quality streets FOLDER    train, train_annotation, val, val_annotation of CamVid

Digits: the last fifth is kept for validation; ResNet-20 on 28x28 pixels. Streets: an FCN of ResNet-50 on half
the size, 11 classes, 11 in a mask counts nowhere. An option --epochs makes either shorter or longer.
"""

from __future__ import annotations

import argparse
import gzip
import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from common.formats import recordio
from common.images import records


def digits(folder: Path, scratch: Path, epochs: int) -> list[str]:
    """The job's arguments for MNIST."""
    images, labels = (
        np.frombuffer(gzip.decompress(next(folder.glob(f"*-{name}-ubyte.gz")).read_bytes()), np.uint8)
        for name in ("images-idx3", "labels-idx1")
    )
    images, labels = images[16:].reshape(-1, 28, 28), labels[8:]
    kept = len(labels) * 4 // 5
    for name, part in (("train", slice(kept)), ("validation", slice(kept, None))):
        with (scratch / f"{name}.rec").open("wb") as file:
            for number, (image, label) in enumerate(zip(images[part], labels[part], strict=True)):
                encoded = io.BytesIO()
                Image.fromarray(image).save(encoded, "PNG")
                file.write(recordio.frame(records.pack(float(label), encoded.getvalue(), number)))
    settings = {
        "num_classes": 10,
        "num_training_samples": kept,
        "num_layers": 20,
        "image_shape": "1,28,28",
        "mini_batch_size": 64,
        "learning_rate": 0.1,
        "lr_scheduler_step": max(1, epochs * 3 // 4),
        "epochs": epochs,
    }
    channels = {name: scratch / f"{name}.rec" for name in ("train", "validation")}
    return arguments("image-classification", channels, settings)


def streets(folder: Path, scratch: Path, epochs: int) -> list[str]:
    """The job's arguments for photographs with masks."""
    for channel in ("train", "val"):
        for name in (channel, f"{channel}_annotation"):
            (scratch / name).mkdir()
        for path in (folder / f"{channel}_annotation").glob("*.png"):
            mask = np.array(Image.open(path))[::2, ::2]
            Image.fromarray(np.where(mask == 11, 255, mask)).save(
                scratch / f"{channel}_annotation" / path.name
            )
            with Image.open(folder / channel / f"{path.stem}.jpg") as photograph:
                half = photograph.resize(mask.shape[::-1])
            half.save(scratch / channel / f"{path.stem}.jpg", quality=95)
    settings = {
        "num_classes": 11,
        "num_training_samples": len(list((scratch / "train").iterdir())),
        "use_pretrained_model": False,
        "base_size": 240,
        "crop_size": 160,
        "mini_batch_size": 6,
        "learning_rate": 0.02,
        "epochs": epochs,
    }
    channels = {
        "train": scratch / "train",
        "train_annotation": scratch / "train_annotation",
        "validation": scratch / "val",
        "validation_annotation": scratch / "val_annotation",
    }
    return arguments("semantic-segmentation", channels, settings)


def arguments(algorithm: str, channels: dict[str, Path], settings: dict[str, object]) -> list[str]:
    """Of `algodock train`."""
    return [
        algorithm,
        *(part for name, path in channels.items() for part in ("--channel", f"{name}={path}")),
        *(part for name, value in settings.items() for part in ("-p", f"{name}={value}")),
    ]


JOBS = {"digits": (digits, 6), "streets": (streets, 30)}
SCORE = re.compile(r"(Epoch\[\d+\] Validation-accuracy=\S+|validation (?:mIOU|pixel_accuracy) <score>=\S+)")


def main() -> None:
    """Prints the scores of the last epochs."""
    parser = argparse.ArgumentParser(prog="python -m bench.image_quality")
    parser.add_argument("data", choices=JOBS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int)
    chosen = parser.parse_args()
    job, usual = JOBS[chosen.data]
    with tempfile.TemporaryDirectory() as scratch:
        asked = job(chosen.folder, Path(scratch), chosen.epochs or usual)
        command = [Path(sys.executable).with_name("algodock"), "train", *asked, "--output", f"{scratch}/job"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(*SCORE.findall(done.stdout)[-4:], sep="\n")


if __name__ == "__main__":
    main()
