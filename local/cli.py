"""The `algodock` command."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from common import manifest
from common.failures import EXIT_CODE, AlgorithmError, ClientError
from common.job import DISTRIBUTIONS, INPUT_MODES
from common.manifest import Manifest
from local.screens import silence, tell

if TYPE_CHECKING:
    from local.jobs import ChannelSource
    from local.runtimes import Runtime
    from local.transforming import Settings

CHANNELS = ("train", "validation", "test")
_INPUTS = ("data_type", "compression", "record_wrapper", "shuffle_seed")
# Options of a tuning that its request has as they are written.
_AS_THEY_ARE = (
    *("range", "objective", "direction", "strategy", "max_jobs", "parallel", "max_seconds", "early_stopping"),
    *("min_resource", "max_resource", "seed", "warm_start", "input_mode", "distribution", "hosts"),
    "instance_type",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command. Exit code 0, 1 for what went wrong, 2 for a command line that can't be read."""
    _open_what_is_closed()
    chosen = _parser().parse_args(arguments)
    # A request to stop, and a terminal that is closed, are Ctrl-C's: jobs and endpoints are ended in good
    # order, none is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, _hang_up)
    try:
        code = chosen.run(chosen)
        sys.stdout.flush()
        sys.exit(code)
    except (ClientError, AlgorithmError) as error:
        sys.exit(f"algodock: {error}")
    except BrokenPipeError:
        silence(sys.stdout)  # whoever read the output has enough
        sys.exit(EXIT_CODE)
    except OSError as error:
        # A copy that fails names both files, and it isn't told which is to blame.
        names = [str(name) for name in (error.filename, error.filename2) if name]
        place = f"{' to '.join(names)}: " if names else ""
        sys.exit(f"algodock: {place}{error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _hang_up(number: int, frame: FrameType | None) -> None:
    """An interrupt, once: of a terminal that is closed bash tells, and the system too."""
    signal.signal(number, lambda *_: None)
    signal.default_int_handler(number, frame)


def _open_what_is_closed() -> None:
    """Standard input and output that the caller has closed (``>&-``) lead nowhere.

    Files that are opened later would take their numbers, and what is printed.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is not None:
            continue
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)
        os.set_inheritable(number, True)  # programs that are started get it too
        stream = open(number, mode, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="algodock", description="SageMaker's built-in algorithms on your own machine."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_list(commands)
    _add_describe(commands)
    _add_train(commands)
    _add_tune(commands)
    _add_serve(commands)
    _add_predict(commands)
    _add_transform(commands)
    _add_convert(commands)
    _add_ui(commands)
    _add_create_algorithm(commands)
    _add_create_training_job(commands)
    return parser


def _command(
    commands: argparse._SubParsersAction, name: str, text: str, example: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_list(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands, "list", "every algorithm: devices, hosts, input modes, content types", "algodock list"
    )
    parser.set_defaults(run=_list)


def _add_describe(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands, "describe", "hyperparameters, channels, metrics, bodies", "algodock describe kmeans --json"
    )
    parser.add_argument("algorithm")
    parser.add_argument("--json", action="store_true", help="the declaration as data")
    parser.set_defaults(run=_describe)


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "train",
        "train an algorithm",
        "algodock train kmeans --train digits.csv --hyperparameter k=10 --output job",
    )
    parser.add_argument("algorithm")
    _add_job(parser)
    parser.add_argument(
        "--checkpoints",
        nargs="?",
        const=True,
        default=False,
        metavar="S3",
        help="keep checkpoints in the job's folder; or in step with an s3:// prefix",
    )
    parser.add_argument("--output", help="folder or s3:// for the results; default: jobs/NAME-TIME")
    parser.set_defaults(run=_train)


def _add_job(parser: argparse.ArgumentParser) -> None:
    """What a training job and the trials of a tuning are told."""
    for name in CHANNELS:
        parser.add_argument(f"--{name}", metavar="DATA", help=f"the {name} channel: file, folder or s3://")
    parser.add_argument("--channel", action="append", default=[], metavar="NAME=DATA", help="any channel")
    parser.add_argument(
        "--content-type",
        action="append",
        default=[],
        metavar="[CHANNEL=]TYPE",
        help="of all channels or of one, such as 'text/csv;label_size=0'; default: by the files' ending",
    )
    parser.add_argument(
        "--attributes",
        action="append",
        default=[],
        metavar="[CHANNEL=]NAME,NAME",
        help="of an augmented manifest (all channels or one), in the order in which they are streamed",
    )
    parser.add_argument(
        "--hyperparameter", "-p", action="append", default=[], metavar="NAME=VALUE", help="may be repeated"
    )
    _add_inputs(parser)
    parser.add_argument("--input-mode", default="File", choices=INPUT_MODES)
    parser.add_argument("--distribution", default="FullyReplicated", choices=DISTRIBUTIONS)
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--instance-type", default="local", help="checked against the algorithm's rules")
    parser.add_argument("--runtime", default="process", choices=("process", "docker"))
    parser.add_argument("--device", default="cpu", choices=("cpu", "gpu"), help="of the image, with docker")
    parser.add_argument("--environment", "-e", action="append", default=[], metavar="NAME=VALUE")


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    """How the data of a channel are picked and streamed, of all channels or of one."""
    for option, value, text in (
        ("--data-type", "TYPE", "S3Prefix, ManifestFile or AugmentedManifestFile; default: S3Prefix"),
        ("--compression", "TYPE", "None or Gzip, which is taken off in Pipe mode; default: None"),
        ("--record-wrapper", "TYPE", "None or RecordIO: in Pipe mode each object becomes a record"),
        ("--shuffle-seed", "N", "shuffles objects, or the lines of an augmented manifest, each epoch"),
    ):
        parser.add_argument(option, action="append", default=[], metavar=f"[CHANNEL=]{value}", help=text)


def _add_tune(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "tune",
        "automatic model tuning: many jobs, the best hyperparameters",
        "algodock tune kmeans --train digits.csv --test test.csv -p k=10 --max-jobs 20 --parallel 2",
    )
    parser.add_argument("algorithm", nargs="?", help="left out with --request, whose image tells it")
    parser.add_argument(
        "--request", type=Path, metavar="JSON", help="a CreateHyperParameterTuningJob request"
    )
    _add_job(parser)
    parser.add_argument(
        "--range",
        action="append",
        default=[],
        metavar="NAME=RANGE",
        help="LOW:HIGH, LOW:HIGH:SCALING or words with commas; NAME alone: as documented. "
        "Without any: all documented ones",
    )
    parser.add_argument("--objective", metavar="METRIC", help="default: the algorithm's first")
    parser.add_argument("--direction", choices=("Maximize", "Minimize"), help="default: as documented")
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME=REGEX",
        help="a metric of your own: what the regex's group finds in the log",
    )
    parser.add_argument("--strategy", default="Bayesian", choices=("Bayesian", "Random", "Grid", "Hyperband"))
    parser.add_argument("--max-jobs", type=int, help="how many trials; default: 10, of a grid all")
    parser.add_argument("--parallel", type=int, default=1, help="trials at once")
    parser.add_argument("--max-seconds", type=int, help="when to stop the trials")
    parser.add_argument("--early-stopping", action="store_true", help="end trials worse than the median")
    parser.add_argument("--min-resource", type=int, help="epochs that Hyperband leaves every trial")
    parser.add_argument("--max-resource", type=int, help="epochs that Hyperband gives the best")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--warm-start", action="append", default=[], metavar="FOLDER", help="of an earlier tuning; up to 5"
    )
    parser.add_argument("--output", help="folder for the results; the same again goes on; default: jobs/NAME")
    parser.set_defaults(run=partial(_tune, parser))


def _add_create_algorithm(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "create-algorithm",
        "print the CreateAlgorithm request that brings an image of yours in ECR into SageMaker",
        "algodock create-algorithm kmeans --image $IMAGE > kmeans.json\n"
        "  aws sagemaker create-algorithm --cli-input-json file://kmeans.json",
    )
    parser.add_argument("algorithm")
    parser.add_argument("--image", required=True, help="where it was pushed: make push")
    parser.add_argument("--name", help="default: algodock-ALGORITHM")
    parser.add_argument("--device", default="cpu", choices=("cpu", "gpu"), help="of the image")
    parser.set_defaults(run=_create_algorithm)


def _add_create_training_job(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "create-training-job",
        "print the CreateTrainingJob request that runs a job of algodock train in SageMaker",
        "algodock create-training-job jobs/digits --image $IMAGE --role $ROLE --output s3://bucket/jobs \\\n"
        "    --channel train=s3://bucket/digits --instance-type ml.m5.large > job.json\n"
        "  aws sagemaker create-training-job --cli-input-json file://job.json",
    )
    parser.add_argument("job", type=Path, help="the folder that algodock train wrote")
    parser.add_argument("--image", required=True, help="where it was pushed: make push")
    parser.add_argument("--role", required=True, help="the ARN of a role that SageMaker may take")
    parser.add_argument("--output", required=True, metavar="S3", help="where results go")
    parser.add_argument("--instance-type", required=True)
    parser.add_argument("--hosts", type=int, help="default: the job's")
    parser.add_argument(
        "--channel", action="append", default=[], metavar="NAME=S3", help="where its data is on S3"
    )
    parser.set_defaults(run=_create_training_job)


def _add_serve(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "serve", "a local endpoint", "algodock serve job --port 8080")
    _add_model(parser)
    parser.add_argument("--port", type=int, default=8080)
    parser.set_defaults(run=_serve)


def _add_predict(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "predict",
        "ask a trained model, through an endpoint of its own for the moment",
        "algodock predict job rows.csv --accept text/csv",
    )
    _add_model(parser)
    parser.add_argument("rows", help="a file, s3:// or - for standard input")
    _add_bodies(parser)
    parser.set_defaults(run=_predict)


def _add_transform(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "transform",
        "batch transform: every file of a folder to FILE.out",
        "algodock transform job rows/ answers/ --accept application/jsonlines",
    )
    _add_model(parser)
    parser.add_argument("source", help="a file or a folder; or s3://")
    parser.add_argument("target", help="a folder; or s3://")
    _add_bodies(parser)
    parser.add_argument(
        "--split-type", choices=("None", "Line", "RecordIO"), help="default: by the content type"
    )
    parser.add_argument(
        "--strategy", choices=("MultiRecord", "SingleRecord"), help="default: the container's, MultiRecord"
    )
    parser.add_argument(
        "--assemble-with", choices=("None", "Line"), help="default: Line where records are lines"
    )
    parser.add_argument(
        "--max-payload", type=int, metavar="MB", help="of a request; default: the container's, 6"
    )
    parser.add_argument(
        "--max-concurrent",
        type=int,
        metavar="N",
        help="requests at once; default: the container's, one a core",
    )
    parser.add_argument("--input-filter", default="$", metavar="JSONPATH", help="what of a record is sent")
    parser.add_argument(
        "--join-source", default="None", choices=("None", "Input"), help="answers beside records"
    )
    parser.add_argument("--output-filter", default="$", metavar="JSONPATH", help="what is kept of what comes")
    parser.set_defaults(run=_transform)


def _add_convert(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "convert",
        "CSV, libsvm, Parquet and npz to and from RecordIO-protobuf, by the files' endings; or what else an "
        "algorithm's data are made of",
        "algodock convert rows.csv rows.pbr --label-size 1",
    )
    parser.add_argument("source", type=Path, nargs="?")
    parser.add_argument("target", type=Path, nargs="?")
    parser.add_argument("--label-size", type=int, default=0, help="leading label columns; default 0")
    parser.add_argument(
        "--for",
        nargs=argparse.REMAINDER,
        dest="converter",
        metavar=("ALGORITHM", "..."),
        help="an algorithm that converts other data itself, and what it shall convert",
    )
    parser.set_defaults(run=_convert)


def _add_ui(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "ui",
        "a local web page of jobs: metrics as they come, logs, endpoints to try",
        "algodock ui",
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path("jobs"), help="of the jobs; default: jobs"
    )
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--host", default="127.0.0.1", help="default: this machine alone can open it")
    parser.set_defaults(run=_ui)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a job's output, a model.tar.gz or a folder of model files; or s3://")
    parser.add_argument("--algorithm", help="whose model it is, when the place doesn't tell")


def _add_bodies(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--content-type", help="of the rows; default: by the file's ending, else text/csv")
    parser.add_argument("--accept", help="what to answer; default: the algorithm's own")


def _list(chosen: argparse.Namespace) -> int:
    rows = [("ALGORITHM", "DEVICES", "HOSTS", "INPUT MODES", "CONTENT TYPES")]
    for name in manifest.known():
        algorithm = manifest.load(name)
        train = algorithm.channels[0]
        hosts = "1+" if algorithm.training.multi_host else "1"
        rows.append(
            (
                name,
                " ".join(algorithm.training.devices),
                hosts,
                " ".join(train.input_modes),
                " ".join(train.content_types),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _describe(chosen: argparse.Namespace) -> int:
    from local.describing import as_data, as_text

    algorithm = manifest.load(chosen.algorithm)
    print(json.dumps(as_data(algorithm), indent=1) if chosen.json else as_text(algorithm))
    return 0


def _train(chosen: argparse.Namespace) -> int:
    from local import storage
    from local.jobs import JobSpec
    from local.training import failure, train

    algorithm = manifest.load(chosen.algorithm)
    place = chosen.output or f"jobs/{_name_now(algorithm.name)}"
    remote = storage.is_s3(place)
    if remote:
        storage.parse(place)  # rather now than when the job has ended
    output = Path("jobs", place.rstrip("/").rsplit("/", 1)[-1]) if remote else Path(place)
    spec = JobSpec(
        manifest=algorithm,
        output=output.resolve(),
        hyperparameters=_pairs("--hyperparameter", chosen.hyperparameter),
        channels=_channels(chosen, algorithm),
        input_mode=chosen.input_mode,
        distribution=chosen.distribution,
        host_count=chosen.hosts,
        instance_type=chosen.instance_type,
        environment=_pairs("--environment", chosen.environment),
        checkpoints=chosen.checkpoints,
    )
    earlier, told = _stamp(output / "job.json"), ""
    try:
        code = train(spec, _runtime(chosen), sys.stdout)
        told = f"the job failed: {failure(spec)}" if code else ""
    except (ClientError, AlgorithmError) as error:
        if not remote or _stamp(output / "job.json") == earlier:
            raise  # before there were results
        code, told = EXIT_CODE, str(error)
    if told:
        tell(sys.stderr, f"algodock: {told}\n")
    made = sorted(path for path in output.iterdir() if path.is_file())
    if remote:  # also where it failed: to see why
        tell(sys.stderr, f"{output}: results, which go to {place}\n")
        storage.upload(output, made, place)
    if code:
        return EXIT_CODE
    tell(sys.stderr, f"{place}: {', '.join(path.name for path in made)}\n")
    for report in sorted(output.glob("ml/*/output/data/report.html")):
        tell(sys.stderr, f"{report}: what to see of it\n")
    return 0


def _stamp(path: Path) -> tuple[int, int] | None:
    """Another for each file that is written there."""
    if not path.is_file():
        return None
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _name_now(algorithm: str) -> str:
    """A job's name with the milliseconds, as the SageMaker SDK's: two may begin within a second."""
    now = time.time()
    return f"{algorithm}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{int(now * 1000) % 1000:03d}"


def _tune(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> int:
    from local.tuning import command

    if chosen.request is None:
        if chosen.algorithm is None:
            raise ClientError("tune needs an algorithm, or --request")
        algorithm = manifest.load(chosen.algorithm)
        name = command.name_of(algorithm, chosen.output)
        asked = command.Options(
            algorithm=algorithm,
            name=name,
            channels=_channels(chosen, algorithm),
            hyperparameters=_pairs("--hyperparameter", chosen.hyperparameter),
            environment=_pairs("--environment", chosen.environment),
            metric=_pairs("--metric", chosen.metric),
            **{option: getattr(chosen, option) for option in _AS_THEY_ARE},
        )
        request = command.request_of(asked)
    else:
        beside = {"command", "run", "request", "output", "runtime", "device"}
        given = [n for n, value in vars(chosen).items() if n not in beside and value != parser.get_default(n)]
        if given:
            what = "an algorithm" if given[0] == "algorithm" else f"--{given[0].replace('_', '-')}"
            raise ClientError(
                f"{what} is given beside --request, which says it; accepted: --output, --runtime and --device"
            )
        request = command.load(chosen.request)
        name = str(request.get("HyperParameterTuningJobName", chosen.request.stem))
    if str(chosen.output).startswith("s3://"):
        raise ClientError(f"--output {chosen.output} is not accepted; accepted: a folder")
    folder = Path(chosen.output or f"jobs/{name}").resolve()
    return command.run(request, folder, lambda: _runtime(chosen))


def _create_algorithm(chosen: argparse.Namespace) -> int:
    from local import requests

    found = manifest.load(chosen.algorithm)
    name = chosen.name or f"algodock-{found.name}"
    print(json.dumps(requests.algorithm(found, chosen.image, name, chosen.device), indent=1))
    return 0


def _create_training_job(chosen: argparse.Namespace) -> int:
    from local import requests

    places = _pairs("--channel", chosen.channel)
    request = requests.training_job(
        chosen.job, chosen.image, chosen.role, chosen.output, places, chosen.instance_type, chosen.hosts
    )
    print(json.dumps(request, indent=1))
    return 0


def _runtime(chosen: argparse.Namespace) -> Runtime:
    if chosen.runtime == "docker":
        from local.runtimes.docker import DockerRuntime

        return DockerRuntime(chosen.device)
    from local.runtimes.process import ProcessRuntime

    return ProcessRuntime()


def _channels(chosen: argparse.Namespace, algorithm: Manifest) -> list[ChannelSource]:
    from local.jobs import ChannelSource

    places = {name: getattr(chosen, name) for name in CHANNELS if getattr(chosen, name)}
    places.update(_pairs("--channel", chosen.channel))
    if not places and any(channel.required for channel in algorithm.channels):
        raise ClientError(f"no data is given; {algorithm.name} needs --train DATA")
    types = _of_channels(chosen.content_type, places)
    attributes = _of_channels(chosen.attributes, places)
    more = {name: _of_channels(getattr(chosen, name), places) for name in _INPUTS}
    return [
        ChannelSource(
            name,
            place,
            types.get(name),
            tuple(filter(None, attributes.get(name, "").split(","))),
            data_type=more["data_type"].get(name, ""),
            compression=more["compression"].get(name, "None"),
            record_wrapper=more["record_wrapper"].get(name, ""),
            shuffle_seed=_seed(more["shuffle_seed"].get(name)),
        )
        for name, place in places.items()
    ]


def _seed(written: str | None) -> int | None:
    if written is None:
        return None
    if not written.isascii() or not written.isdigit():
        raise ClientError(f"--shuffle-seed {written} is not accepted; accepted: a whole number from 0")
    return int(written)


def _of_channels(options: Sequence[str], places: Mapping[str, str]) -> dict[str, str]:
    """What was written for each channel, as ``CHANNEL=...`` for one or without a name for all."""
    found: dict[str, str] = {}
    for written in options:
        name, equals, rest = written.partition("=")
        # 'text/csv;label_size=0' has an equals sign too, but no channel's name before it.
        found.update({name: rest} if equals and name in places else dict.fromkeys(places, written))
    return found


def _pairs(option: str, written: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for pair in written:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ClientError(f"{option} {pair} is not accepted; accepted: NAME=VALUE")
        pairs[name] = value
    return pairs


def _serve(chosen: argparse.Namespace) -> int:
    from local.endpoints import Endpoint, unpacked

    with (
        unpacked(chosen.model, chosen.algorithm) as (algorithm, root),
        Endpoint(algorithm, root, chosen.port, verbose=True) as endpoint,
    ):
        endpoint.wait()
        address = f"http://127.0.0.1:{chosen.port}/invocations"
        print(f"{algorithm.name} answers on {address} (Ctrl-C stops it)")
        print(f"  curl -H 'Content-Type: text/csv' --data-binary @rows.csv {address}", flush=True)
        return endpoint.join()


def _predict(chosen: argparse.Namespace) -> int:
    from local import storage
    from local.endpoints import Endpoint, unpacked
    from local.transforming import contents, inflated, lined, split

    if chosen.rows == "-":
        body = sys.stdin.buffer.read()
    elif storage.is_s3(chosen.rows):
        body = inflated(storage.contents(chosen.rows, Path()), chosen.rows)
    else:
        body = contents(Path(chosen.rows))
    content_type = _content_type(chosen, Path(chosen.rows))
    with (
        unpacked(chosen.model, chosen.algorithm) as (algorithm, root),
        Endpoint(algorithm, root, environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}) as endpoint,
    ):
        endpoint.wait()
        for part in split(body, content_type):
            sys.stdout.buffer.write(lined(*endpoint.ask(part, content_type, chosen.accept)))
    return 0


def _transform(chosen: argparse.Namespace) -> int:
    from local import inputs, storage
    from local.endpoints import Endpoint, unpacked
    from local.transforming import transform

    remote = storage.is_s3(chosen.target)
    if remote:
        storage.parse(chosen.target)  # rather now than when there are answers
    code = 0
    with (
        tempfile.TemporaryDirectory(prefix="algodock-") as scratch,
        unpacked(chosen.model, chosen.algorithm) as (algorithm, root),
    ):
        items = inputs.data(inputs.select(chosen.source, inputs.S3_PREFIX))
        if not items:
            raise ClientError(f"{chosen.source} holds no file; accepted: a file or a folder of files")
        files = inputs.on_disk(items, chosen.source, Path(scratch))
        target = Path(scratch) / "answers" if remote else Path(chosen.target)
        asked = [(path, target / f"{name}.out", _settings(chosen, path)) for name, path in files.items()]
        environment = {"SAGEMAKER_BATCH": "true"}
        told = {  # what is asked for, and nothing else, as the platform does
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": chosen.max_payload,
            "SAGEMAKER_BATCH_STRATEGY": (chosen.strategy or "").replace("Record", "_RECORD").upper(),
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": chosen.max_concurrent,
        }
        environment |= {name: str(value) for name, value in told.items() if value}
        with Endpoint(algorithm, root, environment=environment) as endpoint:
            endpoint.wait()
            offered = _offered(chosen, endpoint.execution_parameters())
            for path, place, settings in asked:
                ask = partial(endpoint.ask, content_type=settings.content_type, accept=chosen.accept)
                try:
                    transform(path, place, ask, dataclasses.replace(settings, **offered))
                except ClientError as error:
                    # As on the platform the others' answers are of use, and the job has failed.
                    tell(sys.stderr, f"algodock: {error}\n")
                    code = EXIT_CODE
                    continue
                if remote:
                    storage.upload(target, [place], chosen.target)
                name = place.relative_to(target)
                print(f"{chosen.target.rstrip('/')}/{name}" if remote else place)
    return code


def _offered(chosen: argparse.Namespace, told: Mapping[str, Any]) -> dict[str, Any]:
    """Of what isn't asked for, what the container says; else the platform's defaults stand."""
    offered: dict[str, Any] = {}
    if chosen.max_concurrent is None and told.get("MaxConcurrentTransforms"):
        offered["concurrency"] = int(told["MaxConcurrentTransforms"])
    if chosen.max_payload is None and told.get("MaxPayloadInMB"):
        offered["limit"] = int(told["MaxPayloadInMB"]) << 20
    if chosen.strategy is None and told.get("BatchStrategy"):
        single = str(told["BatchStrategy"]).upper().startswith("SINGLE")
        offered["strategy"] = "SingleRecord" if single else "MultiRecord"
    return offered


def _settings(chosen: argparse.Namespace, path: Path) -> Settings:
    from local.transforming import Settings

    asked = {
        "strategy": chosen.strategy,
        "concurrency": chosen.max_concurrent,
        "limit": None if chosen.max_payload is None else chosen.max_payload << 20,
    }
    return Settings(
        content_type=_content_type(chosen, path),
        split_type=chosen.split_type,
        assemble_with=chosen.assemble_with,
        **{name: value for name, value in asked.items() if value is not None},
        input_filter=chosen.input_filter,
        output_filter=chosen.output_filter,
        join=chosen.join_source == "Input",
    )


def _content_type(chosen: argparse.Namespace, path: Path) -> str:
    from local.jobs import content_type_of

    return chosen.content_type or content_type_of(path) or "text/csv"


def _convert(chosen: argparse.Namespace) -> int:
    from local.converting import convert, convert_for

    if chosen.converter:
        name, *arguments = chosen.converter
        for sentence in convert_for(name, arguments):
            print(sentence)
        return 0
    if chosen.target is None:
        raise ClientError("convert needs a source and a target, or --for and an algorithm")
    rows = convert(chosen.source, chosen.target, chosen.label_size)
    print(f"{chosen.target}: {rows} rows")
    return 0


def _ui(chosen: argparse.Namespace) -> int:
    from local.ui.server import run

    return run(chosen.folder, chosen.host, chosen.port)


if __name__ == "__main__":
    main()
