"""Run by the Python of the SageMaker SDK v3: trains with an image in local container mode."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData
from sagemaker.train.model_trainer import Mode

asked = json.loads(sys.argv[1])
folder = Path(asked["folder"])

trainer = ModelTrainer(
    training_image=asked["image"],
    training_mode=Mode.LOCAL_CONTAINER,
    role="arn:aws:iam::111122223333:role/none",
    compute=Compute(instance_type="local_cpu", instance_count=1),
    hyperparameters=asked["hyperparameters"],
    local_container_root=str(folder),
    base_job_name="algodock",
)
channel = InputData(
    channel_name="train", data_source=str(folder / "data"), content_type=asked["content_type"]
)
trainer.train(input_data_config=[channel])

model = folder / "compressed_artifacts" / "model.tar.gz"
(folder / "found.json").write_text(json.dumps({"model": str(model)}))
