"""The classifier: a residual network with pre-activation and one dense layer."""

from __future__ import annotations

from torch import Tensor, nn

from common.networks import folding
from common.networks.resnet_v2 import Trunk, Unit
from common.networks.symbols import NetworkGraph

LAST = "fc"  # the dense layer's name


class Classifier(Trunk):
    """Scores of ``classes`` classes for images of ``shape`` (channels, height, width).

    ``depth`` alone decides between the networks for large and for small images, as AWS's ``num_layers`` does.
    """

    def __init__(
        self, depth: int, shape: tuple[int, int, int], classes: int, multi_label: bool = False
    ) -> None:
        channels, height, _ = shape
        super().__init__(depth, height, channels)
        self.shape, self.classes, self.multi_label = shape, classes, multi_label
        self.fc = nn.Linear(self.width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, height, width) pixels from 0 to 255 to (n, classes) scores."""
        return self.fc(super().forward(x))

    def probabilities(self, scores: Tensor) -> Tensor:
        """Softmax of (n, classes) scores; with ``multi_label`` each label's own sigmoid."""
        return scores.sigmoid() if self.multi_label else scores.softmax(1)


def symbol(network: Classifier) -> bytes:
    """The network as an MXNet symbol file, node for node as AWS's image writes it."""
    graph = NetworkGraph()
    last, _ = network.symbol(graph)
    features = graph.mean("pool1", graph.relu("relu1", graph.norm("bn1", last)))
    scores = graph.dense(LAST, graph.flatten(features), network.classes)
    output = "LogisticRegressionOutput" if network.multi_label else "SoftmaxOutput"
    return graph.dumps(graph.operator(output, "softmax", [scores, graph.variable("softmax_label")]))


def folded(network: Classifier) -> Classifier:
    """The network, which is changed, with every batch norm that follows a convolution folded into it."""
    network.eval()
    if network.lowered:
        folding.fold(network, ("conv0", "bn0"))
    for unit in network.modules():
        if isinstance(unit, Unit):
            pairs = [("conv1", "bn2"), ("conv2", "bn3")] if unit.bottleneck else [("conv1", "bn2")]
            folding.fold(unit, *pairs)
    return network
