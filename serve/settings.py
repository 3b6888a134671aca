"""What the environment says about an endpoint, read once when it starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.failures import ClientError

MEBIBYTE = 1 << 20
PAYLOAD = 6 * MEBIBYTE  # real-time endpoints of AWS take no more
BATCH_PAYLOAD = 100 * MEBIBYTE  # the most that a transform job may send, and its requests at once together


@dataclass(frozen=True, slots=True)
class Settings:
    """An endpoint's environment."""

    port: int
    alone: bool  # whether this machine only may ask
    workers: int
    timeout: int  # seconds
    max_payload: int  # bytes
    batch_strategy: str
    max_concurrent: int
    default_accept: str | None
    multi_model: bool
    max_models: int  # models in memory at once; 0 means as many as fit
    model_memory: int  # bytes that all models in memory may take


def read(environment: Mapping[str, str], workers: int) -> Settings:
    """Reads an endpoint's environment; ``workers`` is how many processes it has where that says nothing.

    Raises ClientError for a value that can't be understood.
    """
    workers = _number(environment, "MODEL_SERVER_WORKERS", workers, 1)  # DeepAR's older name
    workers = _number(environment, "SAGEMAKER_MODEL_SERVER_WORKERS", workers, 1)
    max_payload = _max_payload(environment)
    multi_model = _flag(environment, "SAGEMAKER_MULTI_MODEL")
    together = max(1, BATCH_PAYLOAD // max_payload)
    return Settings(
        port=_number(environment, "SAGEMAKER_BIND_TO_PORT", 8080, 1, 65535),
        alone=_flag(environment, "ALGODOCK_LOCAL_ONLY"),
        workers=workers,
        timeout=_number(environment, "SAGEMAKER_MODEL_SERVER_TIMEOUT", 60, 1),
        max_payload=max_payload,
        batch_strategy=_strategy(environment),
        max_concurrent=_number(environment, "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", 0, 0)
        or min(workers, together),
        default_accept=environment.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "").strip() or None,
        multi_model=multi_model,
        max_models=_number(environment, "ALGODOCK_MAX_MODELS", 0, 0),
        model_memory=_number(environment, "ALGODOCK_MODEL_MEMORY_IN_MB", 0, 0) * MEBIBYTE
        or memory() * 7 // 10,
    )


def memory() -> int:
    """How many bytes this process may take: the machine's, or its cgroup's limit if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _text(Path("/sys/fs/cgroup") / name)
        if text.isdigit():
            return min(total, int(text))
    return total


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(
    environment: Mapping[str, str], name: str, default: int, least: int, most: int | None = None
) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 1000 else -1
    if value < least or (most is not None and value > most):
        accepted = f"from {least}" if most is None else f"from {least} to {most}"
        raise ClientError(f"the environment variable {name} is '{text}'; accepted: a whole number {accepted}")
    return value


def _flag(environment: Mapping[str, str], name: str) -> bool:
    # AWS's images take any value but an empty one; false is meant as it reads.
    return environment.get(name, "").strip().lower() not in ("", "0", "false")


def _max_payload(environment: Mapping[str, str]) -> int:
    asked = _number(environment, "MAX_CONTENT_LENGTH", 0, 0)
    batch = environment.get("SAGEMAKER_MAX_PAYLOAD_IN_MB", "").strip()
    if batch:
        # 0 asks for a stream without end, which built-in algorithms don't offer: the most a job may send.
        megabytes = _number(environment, "SAGEMAKER_MAX_PAYLOAD_IN_MB", 0, 0)
        asked = max(asked, megabytes * MEBIBYTE or BATCH_PAYLOAD)
    return asked or PAYLOAD


def _strategy(environment: Mapping[str, str]) -> str:
    asked = environment.get("SAGEMAKER_BATCH_STRATEGY", "").strip()
    if asked:
        return asked
    # The SageMaker SDK's local mode, which alone writes True with a capital, takes the answer as it stands
    # and refuses the spelling that SageMaker's own transform jobs need.
    return "MultiRecord" if environment.get("SAGEMAKER_BATCH") == "True" else "MULTI_RECORD"
