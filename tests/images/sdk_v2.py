"""Run by the Python of the SageMaker SDK v2: trains, deploys and predicts with an image in local mode."""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path

import boto3
import numpy as np
from sagemaker.amazon.common import RecordDeserializer, RecordSerializer
from sagemaker.deserializers import BytesDeserializer
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.local import LocalSession
from sagemaker.serializers import IdentitySerializer

asked = json.loads(sys.argv[1])
folder = Path(asked["folder"])

session = LocalSession(boto3.Session())
session.config = {"local": {"local_code": True, "container_root": str(folder), "serving_port": asked["port"]}}
estimator = Estimator(
    image_uri=asked["image"],
    role="arn:aws:iam::111122223333:role/none",
    instance_count=1,
    instance_type="local",
    output_path=f"file://{folder}/out",
    hyperparameters=asked["hyperparameters"],
    sagemaker_session=session,
)
estimator.fit({"train": TrainingInput(f"file://{folder}/data", content_type=asked["content_type"])})
with tarfile.open(folder / "out" / "model.tar.gz") as archive:
    files = archive.getnames()

predictor = estimator.deploy(
    initial_instance_count=1,
    instance_type="local",
    serializer=IdentitySerializer(asked["request_type"]),
    deserializer=BytesDeserializer(accept="application/json"),
    wait=False,  # local mode has waited by then; to ask again takes the SDK half a minute
)
try:
    answer = predictor.predict(asked["rows"]).decode()
    records = None
    if asked["records"]:
        predictor.serializer, predictor.deserializer = RecordSerializer(), RecordDeserializer()
        matrix = np.array([line.split(",") for line in asked["rows"].split()], dtype="float32")
        records = predictor.predict(matrix)
finally:
    predictor.delete_endpoint()

names = records and [sorted(record.label) for record in records]
(folder / "found.json").write_text(json.dumps({"json": answer, "records": names, "files": files}))
