"""One JPEG through image classification's endpoint, against a bare PyTorch script without HTTP.

The network is AWS's ResNet of --depth layers at 224x224 with 1,000 classes and weights drawn at random. The
script decodes with Pillow, squashes with OpenCV and runs the same module in inference mode. Both answer the
same JPEG of 500x375 pixels, in turns, with all cores; the medians count, and the answers must agree. Run as::

    python -m bench.image_endpoint [--depth 50] [--requests 40]
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from bench.image_loading import write_jpegs
from common import manifest
from common.networks.resnet_v2 import initialize
from containers.image_classification import artifact
from containers.image_classification.network import Classifier
from local.endpoints import Endpoint

SIZE, CLASSES = 224, 1000
WARM_UP = 5  # requests that don't count


def bare(network: Classifier, image: bytes) -> list[float]:
    """What a script of a few lines answers."""
    answer: list[float] = scores(network, image).softmax(1)[0].tolist()
    return answer


@torch.inference_mode()
def scores(network: Classifier, image: bytes) -> torch.Tensor:
    """(1, classes) of an encoded image, before the softmax."""
    pixels = cv2.resize(np.asarray(Image.open(io.BytesIO(image)).convert("RGB")), (SIZE, SIZE))
    scored: torch.Tensor = network(torch.from_numpy(pixels).permute(2, 0, 1)[None].float())
    return scored


def drawn(depth: int, image: bytes) -> Classifier:
    """A network whose answers tell images apart: drawn as it comes, it would be sure of one class for all."""
    network = Classifier(depth, (3, SIZE, SIZE), CLASSES)
    initialize(network, torch.Generator().manual_seed(0))
    network.eval()
    with torch.no_grad():
        network.fc.weight /= scores(network, image).std()
    return network


def main() -> None:
    """Prints both sides and the ratio."""
    parser = argparse.ArgumentParser(prog="python -m bench.image_endpoint")
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--requests", type=int, default=40)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        image, other = (path.read_bytes() for path in write_jpegs(root, 2))
        network = drawn(chosen.depth, image)
        (root / "model").mkdir()
        artifact.write_params(root / "model" / artifact.params_file(1), network)
        artifact.write_description(root / "model", network, 1)
        times: dict[str, list[float]] = {"endpoint": [], "script": []}
        with Endpoint(manifest.load("image-classification"), root) as endpoint:
            endpoint.wait()
            sides = {
                "endpoint": lambda: json.loads(endpoint.ask(image, "image/jpeg").body),
                "script": lambda: bare(network, image),
            }
            for turn in range(WARM_UP + chosen.requests):
                answers = {}
                for name, ask in sides.items():
                    started = time.perf_counter()
                    answers[name] = ask()
                    if turn >= WARM_UP:
                        times[name].append(time.perf_counter() - started)
    if not np.allclose(answers["endpoint"], answers["script"], rtol=1e-2):
        raise SystemExit("the answers differ")
    if np.allclose(answers["endpoint"], bare(network, other), rtol=1e-2):
        raise SystemExit("the answers would agree with another image's too")
    taken = {name: statistics.median(values) for name, values in times.items()}
    print(f"endpoint, one image:    {1000 * taken['endpoint']:7.1f} ms")
    print(f"bare PyTorch script:    {1000 * taken['script']:7.1f} ms")
    print(f"{taken['endpoint'] / taken['script']:.2f} of its time, ResNet-{chosen.depth}")


if __name__ == "__main__":
    main()
