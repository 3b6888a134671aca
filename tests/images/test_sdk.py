"""The SageMaker Python SDK's local mode drives the image, as its users would: version 2 and version 3."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.images, pytest.mark.timeout(1200)]


def test_v2_estimator_fits_deploys_and_predicts(sdk, case):
    found = sdk(2)

    assert len(case.items(found["json"])) == 20
    assert found["records"] is None or len(found["records"]) == 20
    assert found["files"]


def test_v3_model_trainer_trains_and_its_model_is_served(sdk, image, job, case, endpoint):
    found = sdk(3)
    model = job.root / "served" / "model"
    with tarfile.open(found["model"]) as archive:
        archive.extractall(model, filter="data")

    assert Path(found["model"]).name == "model.tar.gz"
    endpoint(image, model.parent).answers(case)
