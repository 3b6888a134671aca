"""Encoders: from source ids to an array of hidden units for each token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from containers.seq2seq.config import Config
from containers.seq2seq.convolution import Convolution
from containers.seq2seq.layers import Embedding, Gru, Linear, Lstm

_LAYERS = {"lstm": Lstm, "gru": Gru}


class RecurrentEncoder(nn.Module):
    """A bidirectional layer with half the units each way, and layers that go forward on top of it."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        layer, hidden = _LAYERS[config.rnn_cell_type], config.rnn_num_hidden
        self._dropout = config.embed_dropout_source
        # Number of the first layer above the lowest that adds its input to its output; none beyond the last.
        self._residual = config.rnn_first_residual_layer - 2
        if not config.rnn_residual_connections:
            self._residual = config.num_layers_encoder
        self.embedding = Embedding(config.vocab_source_size, config.num_embed_source)
        self.forwards = layer(config.num_embed_source, hidden // 2)
        self.backwards = layer(config.num_embed_source, hidden // 2)
        self.upper = nn.ModuleList(layer(hidden, hidden) for _ in range(config.num_layers_encoder - 1))

    def forward(self, source: Tensor, lengths: Tensor) -> Tensor:
        """(B, S, rnn_num_hidden) for ids (B, S); what stands at padded positions means nothing."""
        # Torch's layers are fastest over whole arrays, time first. So sentences are turned round within their
        # lengths for the way back; packed sequences would go through its slower loop.
        embedded = functional.dropout(self.embedding(source.t()), self._dropout, self.training)
        turned = _turned(lengths, source.shape[1])
        back, _ = self.backwards(_along(embedded, turned))
        output = torch.cat([self.forwards(embedded)[0], _along(back, turned)], 2)
        for number, layer in enumerate(self.upper):
            above, _ = layer(output)
            output = output + above if number >= self._residual else above
        return output.transpose(0, 1)


def _turned(lengths: Tensor, size: int) -> Tensor:
    """(size, n) positions that turn each sentence round and leave its padding where it is."""
    positions = torch.arange(size, device=lengths.device)[:, None]
    turned = lengths - 1 - positions
    return torch.where(turned >= 0, turned, positions)


def _along(array: Tensor, positions: Tensor) -> Tensor:
    """``array`` (size, n, hidden) at the positions (size, n)."""
    return array.gather(0, positions[:, :, None].expand(-1, -1, array.shape[2]))


class ConvolutionalEncoder(nn.Module):
    """Convolutions with residual connections over embeddings of tokens and of their positions."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._dropout, self._hidden_dropout = config.embed_dropout_source, config.cnn_hidden_dropout
        self._side = (config.cnn_kernel_width_encoder - 1) // 2
        hidden, embed = config.cnn_num_hidden, config.num_embed_source
        self.embedding = Embedding(config.vocab_source_size, embed)
        # The shortest bucket of a training job has two positions.
        self.positions = Embedding(max(2, config.max_seq_len_source), embed)
        self.input = Linear(embed, hidden, bias=False)
        self.layers = nn.ModuleList(
            Convolution(hidden, config.cnn_kernel_width_encoder, config.cnn_activation_type)
            for _ in range(config.num_layers_encoder)
        )

    def forward(self, source: Tensor, lengths: Tensor) -> Tensor:
        """(B, S, cnn_num_hidden) for ids (B, S); what stands at padded positions means nothing."""
        embedded = functional.dropout(self.embedding(source), self._dropout, self.training)
        hidden = self.input(embedded + self.positions.weight[: source.shape[1]]).transpose(1, 2)
        inside = torch.arange(source.shape[1], device=source.device) < lengths[:, None]
        for layer in self.layers:
            inputs = functional.dropout(hidden * inside[:, None], self._hidden_dropout, self.training)
            hidden = hidden + layer(functional.pad(inputs, (self._side, self._side)))
        return hidden.transpose(1, 2)
