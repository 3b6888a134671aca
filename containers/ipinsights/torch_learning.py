"""Learning on torch's devices, the same mini-batches, negatives and steps as in `learning`.

Tables and moments are on the first device. Each device takes an equal part of a mini-batch's blocks, with a
copy of what these need, and the first one adds up their gradients.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from containers.ipinsights import encoder, kernels
from containers.ipinsights.learning import Combine, Float64, Gradients, Settings, adam_rate
from containers.ipinsights.model import Model, Shape
from containers.ipinsights.negatives import Negatives
from containers.ipinsights.pairs import Addresses, Pairs
from containers.ipinsights.rows import Rows

_SPAN = 1 << 24  # floats of a matrix that has a row for each pair worked on at a time


class TorchLearner:
    """A model that learns on ``devices``; see `learning.Learner`."""

    def __init__(self, shape: Shape, settings: Settings, devices: Sequence[str]) -> None:
        self.shape = shape
        self.settings = settings
        self._devices = [torch.device(device) for device in devices]
        self._home = self._devices[0]
        self._pool = ThreadPoolExecutor(len(devices), "devices") if len(devices) > 1 else None
        self._known = Rows()
        self._entities = _Table(torch.empty((0, shape.vector_dim), device=self._home))
        self._prefixes = _Table(_sent(shape.initial_prefixes(), self._home))
        self._layers = _Table(_sent(shape.initial_layers(), self._home))
        self._steps = 0

    def learn(self, pairs: Pairs, key: np.uint64, combine: Combine | None = None) -> Float64:
        """See `learning.Learner.learn`."""
        slots, total = self._gradients(pairs, key)
        if combine is not None:
            both = combine(total.on_cpu(self._known.rows(slots)))
            slots, places = self._slots(both.rows)
            total = _Sums.of(both, places, self._home)
        self._apply(slots, total)
        return total.sums

    def model(self) -> Model:
        """The model as it is, on the CPU."""
        return Model(
            self.shape,
            self._known.all(),
            self._entities.values.cpu().numpy(),
            self._prefixes.values.cpu().numpy(),
            self._layers.values.cpu().numpy(),
        )

    def _slots(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The slots of rows, without repetition, and each row's place among them; new rows begin."""
        before = len(self._known)
        slots, places = self._known.distinct(rows)
        new = np.arange(before, len(self._known), dtype=np.int32)
        if len(new):
            begun = self.shape.initial_entities(self._known.rows(new))
            self._entities.append(_sent(begun, self._home))
        return slots, places

    def _gradients(self, pairs: Pairs, key: np.uint64) -> tuple[NDArray[np.int32], _Sums]:
        negatives = Negatives(key, len(pairs), self.shape.block_rows(len(pairs)))
        addresses = pairs.addresses[negatives.order]
        slots, places = self._slots(self.shape.rows(pairs.entities[negatives.order]))
        blocks = negatives.blocks(slice(0, len(pairs)))
        entities = self._entities.values[_sent(slots, self._home).long()]

        def run(number: int) -> _Sums:
            device, count = self._devices[number], len(self._devices)
            part = _Part(self, device, entities)
            own = blocks[len(blocks) * number // count : len(blocks) * (number + 1) // count]
            group = max(1, _SPAN // self.shape.vector_dim // negatives.block_rows)
            for start in range(0, len(own), group):
                part.add(negatives, own[start : start + group], addresses, places)
            return part.sums

        numbers = range(len(self._devices))
        parts = [run(n) for n in numbers] if self._pool is None else list(self._pool.map(run, numbers))
        for other in parts[1:]:
            parts[0].add(other)
        parts[0].sums[3] = len(pairs)
        return slots, parts[0]

    def _apply(self, slots: NDArray[np.int32], total: _Sums) -> None:
        """One step of Adam on all that has a gradient."""
        self._steps += 1
        rate = adam_rate(self._steps, self.settings.learning_rate)
        scale, decay = 1.0 / float(total.sums[3]), self.settings.weight_decay
        touched = total.touched.nonzero()[:, 0]
        count = self.shape.layers * self.shape.vector_dim
        layers = torch.arange(len(total.layers), device=self._home)
        steps = (
            (self._entities, _sent(slots, self._home).long(), total.entities, decay),
            (self._prefixes, touched, total.prefixes[touched], decay),
            (self._layers, layers[:count], total.layers[:count], decay),
            (self._layers, layers[count:], total.layers[count:], 0.0),
        )
        for table, rows, gradient, penalty in steps:
            table.step(rows, gradient * scale, penalty, rate)


class _Table:
    """(t, d) values and Adam's two moments of each on a device; see `tables.Table`."""

    def __init__(self, values: Tensor) -> None:
        self._all = [values, torch.zeros_like(values), torch.zeros_like(values)]
        self._count = len(values)

    @property
    def values(self) -> Tensor:
        return self._all[0][: self._count]

    def append(self, values: Tensor) -> None:
        start, self._count = self._count, self._count + len(values)
        if self._count > len(self._all[0]):
            capacity = max(self._count, len(self._all[0]) * 5 // 4)
            for number, old in enumerate(self._all):
                larger = old.new_zeros((capacity, old.shape[1]))
                larger[:start] = old[:start]
                self._all[number] = larger
        self._all[0][start : self._count] = values

    def step(self, rows: Tensor, slope: Tensor, decay: float, rate: float) -> None:
        """Adam on different ``rows``; see `kernels.adam`."""
        values, means, squares = self._all
        slope = slope + decay * values[rows]
        mean = 0.9 * means[rows] + 0.1 * slope
        square = 0.999 * squares[rows] + 0.001 * slope * slope
        means[rows], squares[rows] = mean, square
        values[rows] -= rate * mean / (square.sqrt() + 1e-8)


class _Sums:
    """A mini-batch's gradients on a device; see `learning.Gradients`."""

    def __init__(self, entities: Tensor, prefixes: Tensor, touched: Tensor, layers: Tensor) -> None:
        self.entities = entities
        self.prefixes = prefixes
        self.touched = touched
        self.layers = layers
        self.sums: Float64 = np.zeros(4)

    def add(self, other: _Sums) -> None:
        home = self.entities.device
        self.entities += other.entities.to(home)
        self.prefixes += other.prefixes.to(home)
        self.touched |= other.touched.to(home)
        self.layers += other.layers.to(home)
        self.sums += other.sums

    def on_cpu(self, rows: NDArray[np.int64]) -> Gradients:
        tables = self.entities, self.prefixes, self.touched, self.layers
        entities, prefixes, touched, layers = (table.cpu().numpy() for table in tables)
        return Gradients(rows, entities, prefixes, touched, layers, self.sums)

    @staticmethod
    def of(gradients: Gradients, places: NDArray[np.int32], device: torch.device) -> _Sums:
        tables = (gradients.entities[places], gradients.prefixes, gradients.touched, gradients.layers)
        found = _Sums(*(_sent(table, device) for table in tables))
        found.sums = gradients.sums
        return found


class _Part:
    """One device's part of a mini-batch."""

    def __init__(self, learner: TorchLearner, device: torch.device, entities: Tensor) -> None:
        self._shape = learner.shape
        self._settings = learner.settings
        self._device = device
        self._bounds = learner.shape.bounds.tolist()
        self._entities = entities.to(device)
        self._prefixes = learner._prefixes.values.to(device)
        layers = learner._layers.values.to(device)
        self._layers = learner.shape.layers_of(layers)
        touched = torch.zeros(len(self._prefixes), dtype=torch.uint8, device=device)
        self.sums = _Sums(
            torch.zeros_like(self._entities),
            torch.zeros_like(self._prefixes),
            touched,
            torch.zeros_like(layers),
        )

    def add(
        self,
        negatives: Negatives,
        blocks: Sequence[slice],
        addresses: Addresses,
        places: NDArray[np.int32],
    ) -> None:
        """Adds the gradients of some blocks in a row."""
        span = slice(blocks[0].start, blocks[-1].stop)
        where = _sent(places[span], self._device).long()
        entities = _Entities(self._entities[where], self._layers)
        shuffles = [
            np.concatenate([negatives.partners(rate, b) + (b.start - span.start) for b in blocks])
            for rate in range(self._settings.shuffled_negatives)
        ]
        self._pair(entities, addresses[span], 1, shuffles)
        for rate in range(self._settings.random_negatives):
            self._pair(entities, negatives.addresses(rate, span), 0, [])
        sums = self._shape.layers_of(self.sums.layers)
        encoder.finish(
            entities.vectors,
            entities.slopes,
            entities.product_slopes,
            entities.vector_slopes,
            self._layers,
            sums,
        )
        self.sums.entities.index_add_(0, where, entities.vector_slopes)

    def _pair(
        self, entities: _Entities, addresses: Addresses, label: int, shuffles: Sequence[NDArray[np.int32]]
    ) -> None:
        """Pairs each entity with its address, and at each of ``shuffles`` with another's."""
        rows = np.empty((4, len(addresses)), np.int64)
        kernels.prefix_rows(addresses, rows)
        places = _sent(rows, self._device)
        cuts = [slice(0, stop - start) for start, stop in itertools.pairwise(self._bounds)]
        prefixes = torch.cat([self._prefixes[p][:, c] for p, c in zip(places, cuts, strict=True)], 1)
        hidden, inputs = encoder.forward(prefixes, self._layers[:-1])
        gradient = torch.zeros_like(hidden)
        self._learn(entities, hidden, label, gradient, None)
        for partners in shuffles:
            self._learn(entities, hidden, 0, gradient, _sent(partners, self._device).long())
        sums = self._shape.layers_of(self.sums.layers)
        gradient = encoder.backward(gradient, inputs, self._layers[:-1], sums[:-1])
        for place, start, part in zip(places, self._bounds[:-1], cuts, strict=True):
            self.sums.prefixes[:, part].index_add_(0, place, gradient[:, start : start + part.stop])
            self.sums.touched[place] = 1

    def _learn(
        self, entities: _Entities, hidden: Tensor, label: int, gradient: Tensor, partners: Tensor | None
    ) -> None:
        """See `kernels.learn_pairs`."""
        others = hidden if partners is None else hidden[partners]
        active = others > 0
        scores = (entities.vectors * others + entities.products * (others * active)).sum(1) + entities.offsets
        loss = torch.nn.functional.softplus(-scores if label else scores).sum(dtype=torch.float64)
        right = ((scores > 0) == bool(label)).sum()
        self.sums.sums[:3] += float(loss), float(right), len(scores)
        slope = torch.sigmoid(scores) - label
        entities.slopes += slope
        slope = slope[:, None]
        entities.vector_slopes += slope * others
        entities.product_slopes += slope * (others * active)
        change = slope * (entities.vectors + entities.products * active)
        if partners is None:
            gradient += change
        else:
            gradient.index_add_(0, partners, change)


class _Entities:
    """(n, d) vectors of entities, what the last layer makes of them, and the gradients of both."""

    def __init__(self, vectors: Tensor, layers: encoder.Layers) -> None:
        self.vectors = vectors
        self.offsets = vectors.new_zeros(len(vectors))
        self.products = torch.zeros_like(vectors)
        encoder.prepare(vectors, layers, self.offsets, self.products)
        self.slopes = torch.zeros_like(self.offsets)
        self.vector_slopes = torch.zeros_like(vectors)
        self.product_slopes = torch.zeros_like(vectors)


def _sent(array: NDArray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)
