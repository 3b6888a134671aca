"""What is sent to an endpoint: its content type where nobody says it, and examples where they are simple."""

from __future__ import annotations

import json
import re
from pathlib import Path

from common import content_types
from common.manifest import InferenceSpec, Manifest
from local.jobs import content_type_of
from local.ui.jobs import Job

MEBIBYTE = 1 << 20
LARGEST = 6 * MEBIBYTE  # as an endpoint's own
_PICTURES = {b"\xff\xd8": "image/jpeg", b"\x89PNG": "image/png"}
_LIBSVM = re.compile(r"^\S+( +\d+:\S+)+\s*$")
_EXAMPLES = {
    "blazingtext": {"instances": ["one sentence", "another one"]},
    "seq2seq": {"instances": [{"data": "one sentence"}]},
}


def content_type(manifest: Manifest, body: bytes, filename: str) -> str:
    """The content type of a body by its file's ending, else by what it looks like."""
    spec = manifest.inference
    told = content_type_of(Path(filename)) if filename else None
    for guess in (told, *_looks_like(body)):
        if guess in spec.content_types:
            return guess
    return spec.default_content_type


def _looks_like(body: bytes) -> list[str]:
    picture = next((kind for start, kind in _PICTURES.items() if body.startswith(start)), None)
    if picture:
        return [picture, "application/x-image"]
    line, _, rest = body.strip().partition(b"\n")
    if line[:1] in (b"{", b"["):
        whole = _is_json(line) and rest.strip()[:1] in (b"{", b"[")
        kinds = [content_types.JSON_LINES, content_types.JSON]
        return kinds if whole else kinds[::-1]
    if _LIBSVM.match(line.decode(errors="replace")):
        return [content_types.LIBSVM]
    return [content_types.CSV] if line else []


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def example(job: Job) -> str:
    """A request to begin with; nothing where what the model takes isn't known."""
    found = _EXAMPLES.get(job.algorithm)
    return "" if found is None else json.dumps(found, ensure_ascii=False)


def hint(job: Job, spec: InferenceSpec) -> str:
    """What one may paste."""
    width = job.hyperparameters.get("feature_dim", "")
    if any(kind.startswith("image/") for kind in spec.content_types):
        return "Choose or drop a picture: JPEG or PNG."
    if content_types.CSV in spec.content_types and width.isdigit():
        return f"Rows of {width} numbers with commas between, without a label; or JSON."
    if job.algorithm == "forecasting-deepar":
        return 'Series as JSON: {"instances": [{"start": "2024-01-01 00:00:00", "target": [1, 2, 3]}]}'
    if content_types.CSV in spec.content_types:
        return "Rows with commas between, without a label; or JSON."
    return 'JSON: {"instances": [...]}'
