"""What the tests ask of the real MXNet and GluonCV, in an environment of theirs.

A program that answers one JSON request a line, ``{"call": name, "arguments": {...}}``, with a JSON line of
what the function returned or, under ``error``, of how it failed. Arrays travel as .npz files.
"""

from __future__ import annotations

import json
import sys
import traceback

import mxnet as mx
import numpy as np


def arrays(path, result):
    """Opens an NDArray file; the names of what is in it, none for a list."""
    loaded = mx.nd.load(path)
    named = loaded if isinstance(loaded, dict) else {f"{n}": array for n, array in enumerate(loaded)}
    np.savez(result, **{name: array.asnumpy() for name, array in named.items()})
    return {"names": list(loaded) if isinstance(loaded, dict) else []}


def forward(prefix, epoch, inputs, result, labels=()):
    """Opens a checkpoint as ``mx.model.load_checkpoint`` does and runs it; every output by its name."""
    symbol, arguments, auxiliary = mx.model.load_checkpoint(prefix, epoch)
    return _forward(symbol, arguments, auxiliary, inputs, result, labels)


def module(prefix, epoch, inputs, result, labels=()):
    """Opens a checkpoint as ``mx.module.Module.load`` does, predicts, and tells its arguments' names."""
    data = {name: mx.nd.array(value) for name, value in np.load(inputs).items()}
    loaded = mx.module.Module.load(prefix, epoch, False, data_names=list(data), label_names=list(labels))
    loaded.bind([(name, value.shape) for name, value in data.items()], for_training=False)
    loaded.forward(mx.io.DataBatch(list(data.values())), is_train=False)
    outputs = zip(loaded.output_names, loaded.get_outputs(), strict=True)
    np.savez(result, **{name: value.asnumpy() for name, value in outputs})
    return {"arguments": {name: list(value.shape) for name, value in loaded.get_params()[0].items()}}


def draw(symbol, shapes, params, seed=0):
    """Writes a symbol's parameters, drawn at random, running statistics among them, as MXNet saves them."""
    graph = mx.sym.load(symbol)
    random = np.random.default_rng(seed)
    found, _, running = graph.infer_shape(**{name: tuple(shape) for name, shape in shapes.items()})
    drawn = {}
    for name, shape in zip(graph.list_arguments(), found, strict=True):
        if name not in shapes:
            fan = max(1, int(np.prod(shape[1:])))
            deviation = np.sqrt(2 / fan) if name.endswith("weight") else 0.1
            offset = 1.0 if name.endswith("gamma") else 0.0
            drawn[f"arg:{name}"] = mx.nd.array(random.normal(offset, deviation, shape))
    for name, shape in zip(graph.list_auxiliary_states(), running, strict=True):
        drawn[f"aux:{name}"] = mx.nd.array(
            random.uniform(0.5, 1.5, shape) if "var" in name else random.normal(0, 0.1, shape)
        )
    mx.nd.save(params, drawn)
    return {"names": list(drawn)}


def gluoncv(network, arguments, result, load=None, save=None, image=None, seed=0):
    """Builds a GluonCV network by its class's name, loads or draws its parameters, and runs it."""
    from gluoncv import model_zoo

    built = getattr(model_zoo, network)(**arguments)
    if load:
        built.load_parameters(load)
    else:
        np.random.seed(seed)
        mx.random.seed(seed)
        built.initialize(mx.init.Xavier(magnitude=2))
        random = np.random.default_rng(seed)
        parameters = built.collect_params()
        if image:
            built(mx.nd.array(np.load(image)["image"]))  # shapes that were left open
        for name, parameter in parameters.items():
            if name.endswith(("running_mean", "beta", "bias")):
                parameter.set_data(mx.nd.array(random.normal(0, 0.1, parameter.shape)))
            elif name.endswith(("running_var", "gamma")):
                parameter.set_data(mx.nd.array(random.uniform(0.5, 1.5, parameter.shape)))
    if save:
        built.save_parameters(save)
    if image:
        outputs = built(mx.nd.array(np.load(image)["image"]))
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        np.savez(result, **{str(n): value.asnumpy() for n, value in enumerate(outputs)})
    return {"names": list(built._collect_params_with_prefix())}


def rewritten(symbol):
    """The names of a symbol's nodes when MXNet writes what it has read."""
    return {"names": [node["name"] for node in json.loads(mx.sym.load(symbol).tojson())["nodes"]]}


def records(path, result):
    """Reads a .rec as MXNet's own tools do: labels and image bytes of each record."""
    reader = mx.recordio.MXRecordIO(path, "r")
    labels, images = [], []
    while (record := reader.read()) is not None:
        header, image = mx.recordio.unpack(record)
        labels.append(np.atleast_1d(np.asarray(header.label, np.float32)))
        images.append(np.frombuffer(image, np.uint8))
    np.savez(
        result,
        **{f"label{n}": label for n, label in enumerate(labels)},
        **{f"image{n}": image for n, image in enumerate(images)},
    )
    return {"count": len(labels)}


def write_records(path, inputs):
    """Writes a .rec with MXNet's own writer: labels and encoded images given as arrays."""
    given = np.load(inputs)
    writer = mx.recordio.MXRecordIO(path, "w")
    for number in range(len(given.files) // 2):
        label, image = given[f"label{number}"], given[f"image{number}"].tobytes()
        one = float(label[0]) if len(label) == 1 else label
        writer.write(mx.recordio.pack(mx.recordio.IRHeader(0, one, number, 0), image))
    writer.close()
    return {}


def operators(inputs, result, sizes, ratios, overlap, mining, threshold, top):
    """MultiBoxPrior, MultiBoxTarget and MultiBoxDetection on given features, labels, scores and offsets."""
    given = {name: mx.nd.array(value) for name, value in np.load(inputs).items()}
    anchors = mx.nd.contrib.MultiBoxPrior(given["feature"], sizes=sizes, ratios=ratios, clip=False)
    found = {"anchors": anchors}
    if "labels" in given:
        offsets, mask, classes = mx.nd.contrib.MultiBoxTarget(
            anchors,
            given["labels"],
            given["scores"],
            overlap_threshold=overlap,
            ignore_label=-1,
            negative_mining_ratio=mining,
            minimum_negative_samples=0,
            negative_mining_thresh=0.5,
            variances=(0.1, 0.1, 0.2, 0.2),
        )
        found.update(offsets=offsets, mask=mask, classes=classes)
        found["detections"] = mx.nd.contrib.MultiBoxDetection(
            mx.nd.softmax(given["scores"], axis=1),
            given["moves"],
            anchors,
            nms_threshold=threshold,
            force_suppress=False,
            variances=(0.1, 0.1, 0.2, 0.2),
            nms_topk=top,
        )
    np.savez(result, **{name: value.asnumpy() for name, value in found.items()})
    return {}


def _forward(symbol, arguments, auxiliary, inputs, result, labels):
    given = {name: mx.nd.array(value) for name, value in np.load(inputs).items()}
    bound = symbol.simple_bind(
        mx.cpu(), grad_req="null", **{name: value.shape for name, value in given.items()}
    )
    bound.copy_params_from(arguments, auxiliary, allow_extra_params=False)
    outputs = bound.forward(is_train=False, **given)
    named = zip(symbol.list_outputs(), outputs, strict=True)
    np.savez(result, **{name: value.asnumpy() for name, value in named})
    return {"outputs": symbol.list_outputs()}


CALLS = {
    function.__name__: function
    for function in (arrays, forward, module, draw, gluoncv, rewritten, records, write_records, operators)
}


def main():
    answers, sys.stdout = sys.stdout, sys.stderr  # networks of GluonCV print what they are
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = CALLS[request["call"]](**request["arguments"])
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
