import pytest

from common.failures import ClientError
from serve import settings


def test_defaults():
    found = settings.read({}, 3)
    assert (found.port, found.workers, found.timeout) == (8080, 3, 60)
    assert found.max_payload == 6291456
    assert (found.multi_model, found.default_accept) == (False, None)
    assert (found.max_concurrent, found.batch_strategy) == (3, "MULTI_RECORD")
    assert found.model_memory > 0


def test_values():
    found = settings.read(
        {
            "SAGEMAKER_BIND_TO_PORT": "8123",
            "SAGEMAKER_MODEL_SERVER_WORKERS": "5",
            "SAGEMAKER_MODEL_SERVER_TIMEOUT": "90",
            "SAGEMAKER_BATCH": "true",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": "20",
            "SAGEMAKER_BATCH_STRATEGY": "SINGLE_RECORD",
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "2",
            "SAGEMAKER_MULTI_MODEL": "true",
            "ALGODOCK_MAX_MODELS": "4",
            "ALGODOCK_MODEL_MEMORY_IN_MB": "10",
        },
        1,
    )
    assert (found.port, found.workers, found.timeout) == (8123, 5, 90)
    assert found.max_payload == 20 << 20
    assert (found.batch_strategy, found.max_concurrent) == ("SINGLE_RECORD", 2)
    assert (found.multi_model, found.max_models, found.model_memory) == (True, 4, 10 << 20)


@pytest.mark.parametrize(
    ("environment", "size"),
    [
        ({"MAX_CONTENT_LENGTH": "1000"}, 1000),
        ({"MAX_CONTENT_LENGTH": "1000", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "1"}, 1 << 20),
        ({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "0"}, 100 << 20),
    ],
)
def test_payload_limit(environment, size):
    assert settings.read(environment, 1).max_payload == size


def test_concurrent_transforms_stay_below_what_a_job_may_send_at_once():
    environment = {"SAGEMAKER_MODEL_SERVER_WORKERS": "64"}
    assert settings.read(environment, 1).max_concurrent == 16  # of 6 MB each
    assert settings.read({**environment, "SAGEMAKER_MAX_PAYLOAD_IN_MB": "100"}, 1).max_concurrent == 1


def test_local_mode_gets_the_spelling_that_it_takes():
    assert settings.read({"SAGEMAKER_BATCH": "True"}, 1).batch_strategy == "MultiRecord"


def test_false_is_false():
    assert not settings.read({"SAGEMAKER_MULTI_MODEL": "false"}, 1).multi_model


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "http", "from 1 to 65535"),
        ("SAGEMAKER_BIND_TO_PORT", "65536", "from 1 to 65535"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "0", "from 1"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "9" * 5000, "from 1"),
        ("SAGEMAKER_MODEL_SERVER_TIMEOUT", "-1", "from 1"),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "6.5", "from 0"),
    ],
)
def test_a_wrong_value_is_named(name, value, accepted):
    with pytest.raises(ClientError, match=f"{name} is '{value}'; accepted: a whole number {accepted}$"):
        settings.read({name: value}, 1)


def test_memory_is_the_least_of_machine_and_group(monkeypatch):
    whole = settings.memory()
    monkeypatch.setattr(settings, "_text", lambda path: "1000" if path.name == "memory.max" else "")
    assert settings.memory() == 1000
    monkeypatch.setattr(settings, "_text", lambda path: "max")
    assert settings.memory() >= whole
