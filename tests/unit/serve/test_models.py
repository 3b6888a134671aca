import threading

import pytest

from serve import app, settings
from serve.models import Known, LoadError, Registry, Unknown


@pytest.fixture
def root(tmp_path, make_model):
    """/opt/ml with models a to e, each of about 1,000 bytes."""
    for name in "abcde":
        make_model(tmp_path / "models" / name / "model", [[ord(name), 0, 0]], 1000)
    return tmp_path


def url(name):
    return f"/opt/ml/models/{name}/model"


def held(registry):
    return [entry.name for entry in registry._entries.values() if entry.model is not None]


def use(registry, name):
    with registry.using(name) as model:
        return float(model.predictor.centers[0, 0])


def registry(manifest, root, **options):
    return Registry(manifest, root, **{"memory": 10**6, **options})


def test_load_describe_list_and_unload(manifest, root):
    models = registry(manifest, root)
    for name in "cab":
        models.add(name, url(name))
    assert models.describe("a") == {"modelName": "a", "modelUrl": url("a")}
    assert use(models, "a") == ord("a")
    with pytest.raises(Known):
        models.add("a", url("a"))
    first, token = models.page("", 2)
    assert [model["modelName"] for model in first] == ["a", "b"]
    assert models.page(token, 2) == ([{"modelName": "c", "modelUrl": url("c")}], None)
    models.remove("a", 1)
    for call in (models.describe, lambda name: use(models, name), lambda name: models.remove(name, 1)):
        with pytest.raises(Unknown):
            call("a")
    models.add("a", url("a"))


def test_the_least_recently_used_makes_room_and_comes_back(manifest, root):
    models = registry(manifest, root, most=2)
    models.add("a", url("a"))
    models.add("b", url("b"))
    use(models, "a")
    models.add("c", url("c"))
    assert held(models) == ["a", "c"]
    assert models.describe("b")["modelName"] == "b"
    assert use(models, "b") == ord("b")
    assert held(models) == ["c", "b"]


def test_memory_is_bounded(manifest, root):
    models = registry(manifest, root, memory=2500)
    for name in "abc":
        models.add(name, url(name))
    assert held(models) == ["b", "c"]


def test_507_when_a_model_is_larger_than_all_there_is(manifest, root):
    models = registry(manifest, root, memory=500)
    with pytest.raises(LoadError, match=r"takes 10.* bytes and all models together may take 500") as caught:
        models.add("a", url("a"))
    assert caught.value.status == 507
    with pytest.raises(Unknown):
        models.describe("a")


def test_507_while_every_other_one_is_answering(manifest, root):
    models = registry(manifest, root, most=1)
    models.add("a", url("a"))
    with models.using("a"), pytest.raises(LoadError, match="no room for model b") as caught:
        models.add("b", url("b"))
    assert caught.value.status == 507
    models.add("b", url("b"))
    assert held(models) == ["b"]


def test_unloading_waits_for_answers(manifest, root):
    models = registry(manifest, root)
    models.add("a", url("a"))
    gone = threading.Event()

    def remove():
        models.remove("a", 10)
        gone.set()

    with models.using("a"):
        thread = threading.Thread(target=remove)
        thread.start()
        assert not gone.wait(0.1)
        with pytest.raises(Unknown):
            models.describe("a")
    assert gone.wait(60)
    thread.join()


def test_many_threads_over_few_places(manifest, root):
    models = registry(manifest, root, most=2)
    for name in "abcde":
        models.add(name, url(name))
    wrong, busy = [], []

    def work(seed):
        for index in range(60):
            name = "abcde"[(seed * 7 + index * 3) % 5]
            try:
                if use(models, name) != ord(name):
                    wrong.append(name)
            except LoadError as error:
                busy.append(error.status)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert set(busy) <= {507}
    assert len(held(models)) <= 2
    assert all(entry.users == 0 for entry in models._entries.values())


def test_a_new_process_goes_on_where_the_last_one_stopped(manifest, root, tmp_path):
    state = tmp_path / "state.json"
    models = registry(manifest, root, state=state)
    models.add("a", url("a"))
    models.add("b", url("b"))
    models.remove("b", 1)
    # A process that gunicorn forks anew has the registry as it was before the first request.
    heir = registry(manifest, root, state=tmp_path / "other.json")
    heir._state = state
    heir.restore()
    assert heir.page("", 10)[0] == [{"modelName": "a", "modelUrl": url("a")}]
    assert use(heir, "a") == ord("a")
    models.forget()
    assert not state.exists()


def test_a_missing_or_broken_model(manifest, root):
    models = registry(manifest, root)
    with pytest.raises(LoadError, match="folder /opt/ml/models/x/model is missing") as caught:
        models.add("x", url("x"))
    assert caught.value.status == 404
    (root / "models" / "a" / "model" / "centers.json").unlink()
    with pytest.raises(LoadError, match=r"no centers\.json") as caught:
        models.add("a", url("a"))
    assert caught.value.status == 500


@pytest.fixture
def client(manifest, root):
    def make(**options):
        return app.many(
            app.Types.of(manifest, None), settings.read({}, 2), registry(manifest, root, **options)
        ).test_client()

    return make


def add(client, name, place=None):
    return client.post("/models", json={"model_name": name, "url": place or url(name)})


def test_routes(client):
    client = client()
    assert client.get("/ping").status_code == 200
    assert client.get("/models").json == {"models": []}
    for name in "abc":
        response = add(client, name)
        assert (response.status_code, response.json) == (200, {"status": f'Model "{name}" registered'})
    assert client.get("/models/a").json == {"modelName": "a", "modelUrl": url("a")}
    first = client.get("/models?limit=2").json
    assert [model["modelName"] for model in first["models"]] == ["a", "b"]
    last = client.get(f"/models?limit=2&next_page_token={first['nextPageToken']}").json
    assert last == {"models": [{"modelName": "c", "modelUrl": url("c")}]}
    answer = client.post(
        "/models/b/invoke", data="98,0,1", content_type="text/csv", headers={"Accept": "text/csv"}
    )
    assert (answer.status_code, answer.text) == (200, "0.0,1.0\n")
    target = client.post(
        "/invocations",
        data="98,0,1",
        headers={"X-Amzn-SageMaker-Target-Model": "b", "Content-Type": "text/csv", "Accept": "text/csv"},
    )
    assert target.data == answer.data
    response = client.delete("/models/b")
    assert (response.status_code, response.json) == (200, {"status": 'Model "b" unregistered'})
    assert [model["modelName"] for model in client.get("/models").json["models"]] == ["a", "c"]
    assert client.get("/execution-parameters").status_code == 200


def test_refusals(client, root):
    client = client(memory=1500)
    assert add(client, "a").status_code == 200
    again = add(client, "a")
    assert (again.status_code, again.text) == (409, "model a is already loaded")
    for method, path in (
        (client.get, "/models/x"),
        (client.delete, "/models/x"),
        (client.post, "/models/x/invoke"),
    ):
        response = method(path)
        assert (response.status_code, response.text) == (404, "model x is not loaded")
    assert add(client, "x").status_code == 404
    (root / "models" / "b" / "model" / "more").write_bytes(b"x" * 2000)
    response = add(client, "b")
    assert response.status_code == 507
    assert response.text.startswith("Unable to load model: model b takes")
    (root / "models" / "c" / "model" / "centers.json").write_text("{")
    assert add(client, "c").status_code == 500
    bad = client.post("/models/a/invoke", data="1,2", content_type="text/csv")
    assert bad.status_code == 400
    assert bad.text.startswith("unable to evaluate payload provided: ")
    assert client.post("/models/a/invoke").status_code == 204
    assert client.post("/invocations", data="1,2,3").status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"model_name": "a"}',
        b'{"model_name": 1, "url": "x"}',
        b'{"model_name": "a/b", "url": "x"}',
        b'{"model_name": "", "url": "x"}',
        b"[" * 100_000,
    ],
)
def test_a_wrong_load_request(client, body):
    response = client().post("/models", data=body)
    assert response.status_code == 400
    assert "\n" not in response.text


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1" * 30, ""])
def test_limit(client, limit):
    expected = 200 if limit in ("", "1" * 30) else 400
    assert client().get(f"/models?limit={limit}").status_code == expected


def test_pages_hold_a_hundred(client, root, make_model):
    client = client()
    for index in range(101):
        make_model(root / "models" / f"m{index:03}" / "model")
        assert add(client, f"m{index:03}").status_code == 200
    found = client.get("/models").json
    assert len(found["models"]) == 100
    assert len(client.get(f"/models?next_page_token={found['nextPageToken']}").json["models"]) == 1


def test_a_slow_model_does_not_hold_up_another(client):
    client = client()
    add(client, "a")
    add(client, "b")
    slow = threading.Thread(
        target=lambda: client.post("/models/a/invoke", data="4004,3,0", content_type="text/csv")
    )
    slow.start()
    assert client.post("/models/b/invoke", data="1,1,0", content_type="text/csv").status_code == 200
    assert slow.is_alive()
    slow.join()


def test_a_url_that_can_be_no_folder(manifest, root):
    with pytest.raises(LoadError, match="is missing") as caught:
        registry(manifest, root).add("a", "x" * 5000)
    assert caught.value.status == 404
