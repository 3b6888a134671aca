"""output/data/report.html of a job of each algorithm: whole, of the job's own data, in need of nothing."""

import gzip
import json
import re
import signal
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from common.batches import Batch, to_csr
from common.formats import ndarray, records
from tests.containers.deepar import jobs as deepar
from tests.containers.image_classification import pictures
from tests.containers.object_detection import scenes as boxes
from tests.containers.semantic_segmentation import scenes as masks
from tests.containers.seq2seq import tasks

DATA = Path(__file__).parents[1] / "data"
CSV, JSON_LINES, REC, IMAGE = (
    "text/csv",
    "application/jsonlines",
    "application/x-recordio",
    "application/x-image",
)
ALWAYS = {"Data", "Hyperparameters", "Timings", "Host and device"}


class Page(HTMLParser):
    """Titles of sections, addresses that a page refers to, how many charts and images, and tags left open."""

    def __init__(self, text):
        super().__init__()
        self.titles, self.addresses, self.charts, self.images, self.open = [], [], 0, 0, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        self.addresses += [told[name] for name in ("src", "href", "srcset", "action") if told.get(name)]
        self.charts += tag == "svg" and told.get("role") == "img"
        self.images += tag == "img"
        if tag not in ("meta", "img", "br", "wbr", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)


def report(done):
    """The page of a job that ended."""
    text = (done.root / "output" / "data" / "report.html").read_text()
    page = Page(text)
    assert not page.open
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert "http" not in text
    assert "Not all pictures are here" not in text, re.findall("Not all pictures[^<]*", text)
    return page, text


def csv(rows):
    return "".join(",".join(f"{value:.4g}" for value in row) + "\n" for row in rows).encode()


def table(count=120, seed=0, *, classes=2):
    """Labels and four features that tell them."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, 4))
    labels = np.digitize(features[:, 0] + features[:, 1], np.linspace(-1, 1, classes + 1)[1:-1])
    return np.column_stack([labels, features])


def words(count=60):
    random = np.random.default_rng(0)
    topics = random.dirichlet(np.full(20, 0.2), 3)
    counts = np.stack([random.multinomial(40, topics[i % 3]) for i in range(count)])
    return csv(np.column_stack([np.zeros(count), counts]))


def sparse(count=100):
    found = table(count).astype(np.float32)
    return records.encode_batch(Batch(to_csr(found[:, 1:]), found[:, 0]))


def pairs():
    rows = [{"label": i % 2, "in0": [i % 7, 3, i % 5], "in1": [i % 2]} for i in range(60)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def sentences():
    with gzip.open(DATA / "subjectivity.txt.gz", "rb") as file:
        return b"".join(file.readlines()[:400])


def tabular(name, sections, *, other="test", classes=2, least=0, **hyperparameters):
    def made(job):
        first = np.array([least, 0, 0, 0, 0])
        return (
            job(name, **hyperparameters)
            .channel("train", csv(table(classes=classes) + first), CSV)
            .channel(other, csv(table(60, 1, classes=classes) + first), CSV)
        )

    return pytest.param(made, sections, id="-".join([name, *map(str, list(hyperparameters.values())[:1])]))


def of(name, sections, train, content_type, other=None, channels=(), **hyperparameters):
    def made(job):
        found = job(name, **hyperparameters).channel("train", train(), content_type)
        for channel, data, kind in ((other, train, content_type), *channels):
            if channel:
                found.channel(channel, data(), kind)
        return found

    marks = pytest.mark.slow if name in SLOW else ()
    shown = "-".join([name, *map(str, list(hyperparameters.values())[:1])])
    return pytest.param(made, sections, id=shown, marks=marks)


SLOW = {"object-detection", "semantic-segmentation"}
JUDGED = {"Confusion", "Scores and threshold"}
CASES = [
    tabular("kmeans", {"Clusters", "How many clusters"}, k=3, feature_dim=4),
    of(
        "pca",
        {"Components", "What the first component is made of"},
        lambda: csv(table()),
        CSV,
        num_components=2,
        feature_dim=4,
        mini_batch_size=50,
    ),
    tabular(
        "knn", {"Confusion", "Neighbors"}, predictor_type="classifier", k=3, sample_size=100, feature_dim=4
    ),
    tabular(
        "knn",
        {"Predictions and residuals", "Neighbors"},
        predictor_type="regressor",
        k=3,
        sample_size=100,
        feature_dim=4,
    ),
    tabular(
        "linear-learner",
        {*JUDGED, "Feature importances", "Learning curves"},
        predictor_type="binary_classifier",
        epochs=2,
        mini_batch_size=20,
        feature_dim=4,
    ),
    tabular(
        "linear-learner",
        {"Confusion", "Feature importances"},
        classes=3,
        predictor_type="multiclass_classifier",
        num_classes=3,
        epochs=2,
        mini_batch_size=20,
        feature_dim=4,
    ),
    tabular(
        "linear-learner",
        {"Predictions and residuals"},
        predictor_type="regressor",
        epochs=2,
        mini_batch_size=20,
        feature_dim=4,
    ),
    tabular(
        "xgboost",
        {*JUDGED, "Feature importances", "Learning curves"},
        other="validation",
        objective="binary:logistic",
        num_round=4,
    ),
    tabular(
        "xgboost",
        {"Confusion", "Feature importances"},
        other="validation",
        classes=3,
        objective="multi:softmax",
        num_class=3,
        num_round=3,
    ),
    tabular(
        "xgboost",
        {"Predictions and residuals"},
        other="validation",
        objective="reg:squarederror",
        num_round=3,
    ),
    tabular(
        "xgboost",
        {"Predictions", "Feature importances"},
        other="validation",
        objective="survival:cox",
        least=1,
        num_round=3,
    ),
    tabular(
        "xgboost",
        {"Predictions and residuals", "Feature importances"},
        other="validation",
        booster="gblinear",
        num_round=3,
    ),
    of(
        "xgboost",
        {"Predictions", "Feature importances"},
        lambda: b"".join(b"%d qid:%d 0:%d 1:%d\n" % (i % 3, i // 10, i % 7, i % 5) for i in range(60)),
        "text/libsvm",
        objective="rank:pairwise",
        num_round=3,
    ),
    tabular(
        "randomcutforest", {"Anomaly scores", *JUDGED}, num_trees=50, num_samples_per_tree=2, feature_dim=4
    ),
    of("lda", {"Topics", "Mixtures"}, words, CSV, num_topics=3, feature_dim=20, mini_batch_size=60),
    of(
        "ntm",
        {"Topics", "Mixtures", "Learning curves"},
        words,
        CSV,
        channels=[
            ("auxiliary", lambda: {"vocab.txt": b"".join(b"word%d\n" % i for i in range(20))}, "text/plain")
        ],
        num_topics=3,
        feature_dim=20,
        epochs=2,
        mini_batch_size=20,
    ),
    of(
        "factorization-machines",
        {*JUDGED, "Features"},
        sparse,
        "application/x-recordio-protobuf",
        predictor_type="binary_classifier",
        num_factors=2,
        feature_dim=4,
        epochs=2,
        mini_batch_size=50,
    ),
    of(
        "factorization-machines",
        {"Predictions and residuals", "Features"},
        sparse,
        "application/x-recordio-protobuf",
        predictor_type="regressor",
        num_factors=2,
        feature_dim=4,
        epochs=2,
        mini_batch_size=50,
    ),
    of(
        "ipinsights",
        {"Scores and threshold"},
        lambda: (DATA / "apache_access.csv").read_bytes()[:40_000].rpartition(b"\n")[0],
        CSV,
        num_entity_vectors=500,
        vector_dim=8,
        epochs=2,
    ),
    of(
        "blazingtext",
        {"Nearest neighbours", "Map"},
        lambda: re.sub(rb"__label__\S+", b"", sentences()),
        "text/plain",
        mode="skipgram",
        vector_dim=8,
        epochs=1,
        min_count=2,
    ),
    of("blazingtext", {"Confusion"}, sentences, "text/plain", mode="supervised", vector_dim=4, epochs=1),
    of(
        "object2vec",
        {*JUDGED, "Nearest neighbours"},
        pairs,
        JSON_LINES,
        "validation",
        enc0_network="pooled_embedding",
        enc0_max_seq_len=5,
        enc0_vocab_size=10,
        enc_dim=8,
        mlp_dim=8,
        enc0_token_embedding_dim=8,
        epochs=1,
    ),
    of(
        "forecasting-deepar",
        {"Forecasts", "Learning curves"},
        lambda: deepar.lines(*deepar.waves()),
        JSON_LINES,
        "test",
        **deepar.JOB,
    ),
    of(
        "seq2seq",
        {"Translations"},
        lambda: tasks.records(tasks.turned(32)),
        "application/x-recordio-protobuf",
        "validation",
        [("vocab", tasks.vocabularies, "application/json")],
        **tasks.SMALL,
    ),
    of(
        "image-classification",
        {"Images and predictions", "Confusion"},
        lambda: {"a.rec": pictures.rec(range(20))},
        REC,
        "validation",
        num_classes=10,
        num_training_samples=20,
        num_layers=20,
        image_shape="3,28,28",
        mini_batch_size=10,
        epochs=1,
    ),
    of(
        "object-detection",
        {"Images and predictions"},
        lambda: {"a.rec": boxes.rec(range(2))},
        REC,
        "validation",
        num_classes=2,
        num_training_samples=2,
        base_network="resnet-50",
        use_pretrained_model=0,
        mini_batch_size=2,
        epochs=1,
    ),
    of(
        "semantic-segmentation",
        {"Images and masks"},
        lambda: masks.files(range(3))[0],
        IMAGE,
        "validation",
        [
            (f"{name}_annotation", lambda: masks.files(range(3))[1], "image/png")
            for name in ("train", "validation")
        ],
        num_classes=3,
        num_training_samples=3,
        use_pretrained_model=False,
        mini_batch_size=3,
        validation_mini_batch_size=2,
        crop_size=45,
        base_size=64,
        epochs=1,
    ),
]


@pytest.fixture
def job(training_job):
    """Jobs that make a report, on one thread."""

    def make(name, **hyperparameters):
        made = training_job(name)
        made.hyperparameters |= hyperparameters
        made.environment |= {"ALGODOCK_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        # Tests run side by side.
        made.environment |= {"ALGODOCK_REPORT": "1", "ALGODOCK_REPORT_SECONDS": "120"}
        return made

    return make


@pytest.mark.parametrize(("made", "sections"), CASES)
def test_what_an_algorithms_report_shows(job, made, sections):
    page, _ = report(made(job).run().succeeded())
    assert set(page.titles) >= sections | ALWAYS
    assert len(page.titles) == len(set(page.titles))
    assert page.charts + page.images


def test_every_algorithm_has_a_case():
    from common import manifest

    tested = {case.id.split("-b")[0] for case in CASES}
    assert {n for n in manifest.known() if not any(t == n or t.startswith(f"{n}-") for t in tested)} == {"rl"}


def test_every_row_that_is_told_of_is_counted(job):
    """Anomalies are few: none of them may be left out."""
    rows = np.column_stack(
        [np.arange(2500) % 500 == 1, np.arange(2500) % 10 + 90.0 * (np.arange(2500) % 500 == 1)]
    )
    made = job("randomcutforest", num_trees=50, num_samples_per_tree=20, feature_dim=1)
    made.channel("train", csv(rows[:, 1:]), f"{CSV};label_size=0").channel(
        "test", csv(rows), f"{CSV};label_size=1"
    )
    _, text = report(made.run().succeeded())
    assert "of all 2,500 rows of channel test" in text
    assert '<tr><td>1</td><td class="number">5</td>' in text


def test_the_mean_squared_distance_is_that_of_rows(job):
    """The job's own msd is of the centers that its last step had."""
    rows = csv(np.random.default_rng(0).normal(size=(400, 1)))
    made = job("kmeans", k=3, feature_dim=1).channel("train", rows, f"{CSV};label_size=0")
    done = made.run().succeeded()
    _, text = report(done)
    centers = ndarray.load(done.model / "model_algo-1")
    points = np.loadtxt(rows.decode().splitlines()).reshape(-1, 1)
    expected = np.square(points - np.asarray(centers).reshape(1, -1)).min(1).mean()
    (told,) = re.findall(r"Distances of rows to their centers; the mean of their squares is ([\d.]+)", text)
    assert float(told) == pytest.approx(expected, rel=1e-4)


def test_one_component(job):
    made = job("pca", num_components=1, feature_dim=4, mini_batch_size=50).channel("train", csv(table()), CSV)
    _, text = report(made.run().succeeded())
    assert "The first component explains" in text


def test_forecasts_name_their_series(job):
    made = job("forecasting-deepar", **deepar.JOB)
    lines = deepar.lines(*deepar.waves())
    made.channel("train", lines, JSON_LINES).channel("test", lines, JSON_LINES)
    _, text = report(made.run().succeeded())
    count = len(lines.splitlines())
    step = -(-count // 6)
    expected = [str(number + 1) for number in range(0, count, step)]
    assert re.findall(r"<figcaption>Series (\d+), from ", text) == expected


@pytest.mark.parametrize(
    ("metric", "told"),
    [("L2", "squared distance"), ("INNER_PRODUCT", "minus the inner product"), ("COSINE", "1 - the cosine")],
)
def test_a_neighbors_distance_is_what_the_index_has(job, metric, told):
    made = job("knn", predictor_type="classifier", k=3, sample_size=100, feature_dim=4, index_metric=metric)
    made.channel("train", csv(table()), CSV).channel("test", csv(table(1200)), CSV)
    _, text = report(made.run().succeeded())
    assert f"mean {told}</text>" in text
    assert "How far the 3 nearest neighbors of a row are" in text
    assert "of 600 rows of channel test evenly spread over all 1,200" in text


def test_a_learned_table_is_shown(job):
    page, text = report(job("rl", environment="FrozenLake-v1", episodes=300).run().succeeded())
    assert {"Policy", "Learning curves", "Metrics"} <= set(page.titles)
    assert "Data" not in page.titles
    assert "16 states and 4 actions of FrozenLake-v1" in text


def test_a_users_own_program_has_a_curve(job, tmp_path):
    (tmp_path / "source").mkdir()
    tells = (
        'for i in range(5):\n    print("training_iteration:", i)\n    print("episode_reward_mean:", i * i)\n'
    )
    (tmp_path / "source" / "main.py").write_text(tells)
    made = job("rl", sagemaker_program="main.py", sagemaker_submit_directory=str(tmp_path / "source"))
    page, text = report(made.run().succeeded())
    assert page.charts == 1
    assert '<td>episode_reward_mean</td><td class="number">16</td>' in text


def test_a_report_can_be_left_out_and_the_log_stays_the_same(job):
    lines = []
    for wanted in ("1", "0"):
        made = job("kmeans", k=3, feature_dim=4).channel("train", csv(table()), CSV)
        made.environment["ALGODOCK_REPORT"] = wanted
        done = made.run().succeeded()
        lines.append(len(done.log.splitlines()))
        assert (done.root / "output" / "data" / "report.html").exists() == (wanted == "1")
    assert lines[0] == lines[1]


def test_pipe_mode_shows_rows_that_went_by(job):
    made = job(
        "linear-learner", predictor_type="binary_classifier", epochs=2, mini_batch_size=20, feature_dim=4
    )
    made.channel("train", csv(table()), CSV, "Pipe").channel("test", csv(table(60, 1)), CSV, "Pipe")
    page, text = report(made.run().succeeded())
    assert set(page.titles) >= JUDGED
    assert "of 60 rows of channel test" in text


def test_a_failed_job_says_why(job):
    made = job("kmeans", k=500, feature_dim=4).channel("train", csv(table()), CSV)
    done = made.run().failed("fewer than k=500")
    page, text = report(done)
    assert "fewer than k=500" in text
    assert "<dd>failed</dd>" in text
    assert "Clusters" not in page.titles


def test_a_failed_job_leaves_no_report_of_an_earlier_one(job):
    made = job("kmeans", k=3, feature_dim=4).channel("train", csv(table()), CSV)
    made.run().succeeded()
    made.hyperparameters["k"] = "many"
    assert made.run().code == 1
    assert not (made.root / "output" / "data" / "report.html").exists()


def test_a_stopped_job_has_a_report(job):
    made = job("kmeans", k=3, feature_dim=4, epochs=100_000).channel("train", csv(table()), CSV)
    process = made.start()
    next(line for line in process.stdout if "#progress_metric" in line)
    process.send_signal(signal.SIGTERM)
    log, _ = process.communicate(timeout=60)
    assert process.returncode == 0, log
    text = (made.root / "output" / "data" / "report.html").read_text()
    assert "<dd>stopped</dd>" in text


def test_a_report_that_can_not_be_made_fails_nothing(job, tmp_path):
    """Without Matplotlib, and where what is drawn raises."""
    hidden = tmp_path / "hidden" / "matplotlib"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('none here')")
    made = job("kmeans", k=3, feature_dim=4).channel("train", csv(table()), CSV)
    made.environment["PYTHONPATH"] = str(hidden.parent)
    done = made.run().succeeded()
    assert "The report can't be made: none here" in done.log
    assert list(done.model.iterdir())


def test_pictures_that_take_too_long_are_left_out(job):
    made = job("xgboost", objective="binary:logistic", num_round=2).channel("train", csv(table()), CSV)
    made.environment["ALGODOCK_REPORT_SECONDS"] = "0"
    done = made.run().succeeded()
    text = (done.root / "output" / "data" / "report.html").read_text()
    assert "Not all pictures are here: the time for pictures, 0 seconds, was over." in text
    assert "<h2>Hyperparameters</h2>" in text


def test_hosts_make_one_report(job):
    hosts = [
        job("kmeans", k=3, feature_dim=4).channel("train", csv(table()), CSV, distribution="ShardedByS3Key")
        for _ in range(2)
    ]
    first, second = hosts[0].run_with(hosts[1])
    report(first.succeeded())
    second.succeeded()
    assert not (second.root / "output" / "data" / "report.html").exists()
