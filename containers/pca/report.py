"""What the report shows of PCA: what components explain and are made of, and rows on the first two."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from common.batches import dense
from common.formats import ndarray
from common.report import charts, page, samples
from common.report.page import Section
from common.training import Run
from containers.pca import predict

_SHOWN = 12


def sections(run: Run) -> Iterator[Section]:
    """Of the training rows."""
    arrays = ndarray.load(run.job.model / predict.ARTIFACT)
    found = samples.rows(run, "train")
    assert isinstance(arrays, dict)
    # The strongest comes last in AWS's files.
    components, strengths = arrays["v"][:, ::-1], arrays["s"].ravel()[::-1].astype(np.float64)
    rows = None if found is None else dense(found.batch.features).astype(np.float64)
    drawn = []
    if rows is not None and found is not None and len(rows) > 1:
        projected = np.asarray(
            predict.load(run.job.model).predict(dense(found.batch.features), {})["projection"]
        )
        variances = projected[:, ::-1].astype(np.float64).var(0)
        total = float(rows.var(0).sum())
        if total > 0:
            share = variances / total
            numbers = np.arange(1, len(share) + 1)
            who = f"{len(share)} components explain" if len(share) > 1 else "The first component explains"
            drawn.append(
                (
                    charts.lines(
                        "explained variance",
                        {"together": (numbers, share.cumsum()), "each": (numbers, share)},
                        "component",
                        "share of the variance",
                        whole=True,
                    ),
                    f"{who} {share.sum():.1%} of the variance",
                )
            )
        if projected.shape[1] > 1:
            chart = charts.scatter(
                "first two components",
                projected[:, :-3:-1],
                xlabel="first component",
                ylabel="second component",
            )
            drawn.append((chart, "Rows on the first two components"))
    numbers = np.arange(1, len(strengths) + 1)
    chart = charts.bars("singular values", numbers.tolist(), strengths, "component", "singular value")
    drawn.append((chart, "Singular values"))
    yield Section("Components", [page.figures(*drawn)], f"Of {found.described}." if found else "")
    first = components[:, 0]
    strongest = np.argsort(-np.abs(first), kind="stable")[:_SHOWN]
    chart = charts.bars("first component", [f"feature {i}" for i in strongest], first[strongest], "weight")
    yield Section("What the first component is made of", [page.figures((chart, "Its largest weights"))])
