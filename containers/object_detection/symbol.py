"""The detector as an MXNet symbol file, in the form that it is trained in, as AWS's image writes it."""

from __future__ import annotations

from common.networks.symbols import NetworkGraph
from containers.object_detection.network import Network

_VARIANCES = "(0.1, 0.1, 0.2, 0.2)"


def dumps(network: Network, threshold: float, most: int) -> bytes:
    """The file; ``threshold`` and ``most`` are nms_threshold and nms_topk.

    Its outputs are class probabilities, the loss of offsets, the classes that were learned, and detections.
    """
    return _Writer(network).dumps(threshold, most)


class _Writer:
    """Adds a detector's nodes; MXNet numbers those that have no name in the order they were made in."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._graph = NetworkGraph()
        self._count = 1  # flatten0 was the end of the base network

    def dumps(self, threshold: float, most: int) -> bytes:
        graph, network = self._graph, self._network
        layers = self._layers()
        predicted = [self._predicted(n, layer) for n, layer in enumerate(layers)]
        offsets, scores, boxes = zip(*predicted, strict=True)
        count = len(layers)
        offset = graph.operator("Concat", "multibox_loc_pred", offsets, dim=1, num_args=count)
        score = graph.operator("Concat", "concat0", scores, dim=1, num_args=count)
        score = graph.operator("Reshape", "reshape0", [score], shape=f"(0, -1, {network.classes + 1})")
        score = graph.operator("transpose", "multibox_cls_pred", [score], axes="(0, 2, 1)")
        box = graph.operator("Concat", "concat1", boxes, dim=1, num_args=count)
        box = graph.operator("Reshape", "multibox_anchors", [box], shape="(0, -1, 4)")
        target = graph.operator(
            "_contrib_MultiBoxTarget",
            "multibox_target",
            [box, graph.variable("label"), score],
            ignore_label=-1,
            minimum_negative_samples=0,
            negative_mining_ratio=3,
            negative_mining_thresh=0.5,
            overlap_threshold=0.5,
            variances=_VARIANCES,
        )
        probability = graph.operator(
            "SoftmaxOutput",
            "cls_prob",
            [score, (target, 2)],
            grad_scale=1.0,
            ignore_label=-1,
            multi_output=True,
            normalization="valid",
            use_ignore=True,
        )
        away = graph.operator("elemwise_sub", "_minus0", [offset, target])
        away = graph.operator("elemwise_mul", "_mul0", [(target, 1), away])
        distance = graph.operator("smooth_l1", "loc_loss_", [away], scalar=1.0)
        loss = graph.operator("MakeLoss", "loc_loss", [distance], grad_scale=1.0, normalization="valid")
        learned = graph.operator("MakeLoss", "cls_label", [(target, 2)], grad_scale=0)
        found = graph.operator(
            "_contrib_MultiBoxDetection",
            "detection",
            [probability, offset, box],
            force_suppress=False,
            nms_threshold=threshold,
            nms_topk=most,
            variances=_VARIANCES,
        )
        found = graph.operator("MakeLoss", "det_out", [found], grad_scale=0)
        return graph.dumps(probability, loss, learned, found)

    def _layers(self) -> list[int]:
        """The layers that boxes are predicted from."""
        graph = self._graph
        known = self._network.trunk[0].nodes(graph)
        found: list[int] = []
        for number, layer in enumerate(self._network.plan):
            if layer.base is not None:
                found.append(known[layer.base])
                continue
            name = f"multi_feat_{number}_conv"
            x = self._convolution(f"{name}_1x1_conv", found[-1], layer.narrow, 1, 1, 0)
            x = graph.relu(f"{name}_1x1_relu", x)
            x = self._convolution(f"{name}_3x3_conv", x, layer.filters, 3, layer.stride, layer.pad)
            found.append(graph.relu(f"{name}_3x3_relu", x))
        return found

    def _predicted(self, number: int, x: int) -> tuple[int, int, int]:
        """Offsets, scores and boxes of one layer, flat."""
        graph, layer = self._graph, self._network.plan[number]
        name = self._network.layer_name(number)
        if layer.scale is not None:
            norm = graph.operator("L2Normalization", f"{name}_norm", [x], mode="channel")
            shape = f"(1, {self._network.get_parameter(f'{name}_scale').shape[1]}, 1, 1)"
            init = f'["constant", {{"value": {layer.scale:g}}}]'
            scale = graph.variable(f"{name}_scale", __init__=init, __shape__=shape)
            x = graph.operator("broadcast_mul", "broadcast_mul0", [scale, norm])
        flat = []
        for kind, filters in (("loc", 4 * layer.boxes), ("cls", (self._network.classes + 1) * layer.boxes)):
            found = self._convolution(f"{name}_{kind}_pred_conv", x, filters, 3, 1, 1)
            turn = f"transpose{2 * number + (kind == 'cls')}"
            found = graph.operator("transpose", turn, [found], axes="(0, 2, 3, 1)")
            flat.append(self._flat(found))
        step = -1.0 if layer.step is None else layer.step
        boxes = graph.operator(
            "_contrib_MultiBoxPrior",
            f"{name}_anchors",
            [x],
            clip=False,
            ratios=f"({','.join(f'{ratio:.12g}' for ratio in layer.ratios)})",
            sizes=f"({','.join(f'{size:.12g}' for size in layer.sizes)})",
            steps=f"({step}, {step})",
        )
        return flat[0], flat[1], self._flat(boxes)

    def _flat(self, x: int) -> int:
        name = f"flatten{self._count}"
        self._count += 1
        return self._graph.operator("Flatten", name, [x])

    def _convolution(self, name: str, x: int, filters: int, kernel: int, stride: int, pad: int) -> int:
        return self._graph.convolution(name, x, filters, kernel, stride, pad, doubled=True)
