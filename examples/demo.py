"""`make demo`: k-means on real handwritten digits, from training to answers, with the commands shown."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

from local.jobs import free_port

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
JOB = HERE.parent / "demo-output"
PORT = free_port()


def shown(command: str) -> str:
    """Prints a command as a person would type it, runs it, and returns what it printed."""
    print(f"\n$ {command}")
    done = subprocess.run(
        command, shell=True, cwd=HERE.parent, capture_output=True, text=True, env=_environment()
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}


def train() -> None:
    """Trains and prints the metric lines."""
    log = shown(
        "algodock train kmeans --train examples/digits-train.csv --test examples/digits-test.csv "
        "-p k=10 -p epochs=5 --output demo-output"
    )
    lines = [found[0] for found in re.finditer(r"#(?:quality|throughput)_metric: .*", log)]
    speeds = [line for line in lines if line.startswith("#throughput")]
    for line in [speeds[-1], *(line for line in lines if line not in speeds)]:
        print(f"  {line}")


def ask(rows: list[str]) -> list[dict[str, float]]:
    """Starts an endpoint, sends the rows to it over HTTP and stops it."""
    print(f"\n$ algodock serve demo-output --port {PORT} &")
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [BIN / "algodock", "serve", str(JOB), "--port", str(PORT)], stdout=log, stderr=log
        )
        try:
            _wait(server)
            print(f"$ curl -H 'Content-Type: text/csv' --data-binary @rows.csv localhost:{PORT}/invocations")
            request = urllib.request.Request(
                f"http://127.0.0.1:{PORT}/invocations",
                "\n".join(rows).encode(),
                {"Content-Type": "text/csv"},
            )
            with urllib.request.urlopen(request) as answer:
                predictions: list[dict[str, float]] = json.load(answer)["predictions"]
                return predictions
        finally:
            server.terminate()
            server.wait(30)


def _wait(server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/ping").close()
            return
        except (urllib.error.URLError, ConnectionError):
            if server.poll() is not None:
                break
            time.sleep(0.05)
    sys.exit(f"the endpoint did not come up on port {PORT}")


def show(digits: list[str], predictions: list[dict[str, float]]) -> None:
    """Prints some answers, and which digits each cluster gathered: k-means never saw which digit is which."""
    for digit, prediction in list(zip(digits, predictions, strict=True))[:3]:
        print(f"  a {digit}: {json.dumps(prediction)}")
    clusters: dict[int, Counter[str]] = {}
    for digit, prediction in zip(digits, predictions, strict=True):
        clusters.setdefault(int(prediction["closest_cluster"]), Counter())[digit] += 1
    print(f"\nWhat the clusters gathered of {len(digits)} digits that training did not see:")
    for cluster, counts in sorted(clusters.items()):
        most = ", ".join(f"{count} x {digit}" for digit, count in counts.most_common(3))
        print(f"  cluster {cluster}: {most}")
    pure = sum(max(counts.values()) for counts in clusters.values()) / len(digits)
    print(f"  {pure:.0%} of them lie in a cluster of their own kind")


def main() -> None:
    """Trains, serves, asks, shows."""
    train()
    lines = (HERE / "digits-test.csv").read_text().split()
    digits, rows = zip(*(line.split(",", 1) for line in lines), strict=True)
    show(list(digits), ask(list(rows)))
    print(
        "\nThe model is demo-output/model.tar.gz, the log demo-output/train.log, and the report"
        "\n  demo-output/ml/algo-1/output/data/report.html: clusters, distances, other k. Next:"
        "\n  .venv/bin/algodock list                   every algorithm"
        "\n  .venv/bin/algodock describe kmeans        its hyperparameters, channels and metrics"
        "\n  .venv/bin/algodock predict demo-output ROWS.csv"
        "\n  .venv/bin/algodock ui demo-output          its page, with metrics, report and an endpoint to try"
    )


if __name__ == "__main__":
    main()
