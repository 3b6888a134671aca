"""The whole network, as Sockeye 1 builds it: embeddings, encoder, decoder with attention, output layer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from common.failures import ClientError
from containers.seq2seq.config import Config
from containers.seq2seq.decoders import ConvolutionalDecoder, RecurrentDecoder
from containers.seq2seq.encoders import ConvolutionalEncoder, RecurrentEncoder
from containers.seq2seq.layers import Linear

# MXNet's orthogonal initialiser scales by this.
_ORTHOGONAL = 1.414


class Network(nn.Module):
    """An encoder and a decoder of whichever type; weights are uninitialised until `initialize`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        recurrent = RecurrentEncoder, RecurrentDecoder
        convolutional = ConvolutionalEncoder, ConvolutionalDecoder
        self.encoder = (recurrent if config.encoder_type == "rnn" else convolutional)[0](config)
        self.decoder = (recurrent if config.decoder_type == "rnn" else convolutional)[1](config)
        self.output = Linear(config.decoder_num_hidden, config.vocab_target_size)

    def forward(self, source: Tensor, source_lengths: Tensor, target_in: Tensor) -> Tensor:
        """Logits (B, T, V) of the word after each of ``target_in`` (B, T), which begins with <s>.

        ``source`` is (B, S) int64, padded behind ``source_lengths`` (B,) int64, each at least 1; S is at most
        max_seq_len_source (or 2) and T at most max_seq_len_target + 1.
        """
        logits: Tensor = self.output(self.hidden(source, source_lengths, target_in))
        return logits

    def hidden(self, source: Tensor, source_lengths: Tensor, target_in: Tensor) -> Tensor:
        """What ``output`` takes to logits, (B, T, hidden): for losses over some of the positions only."""
        encoded = self.encoder(source, source_lengths)
        hidden: Tensor = self.decoder(encoded, source_lengths, target_in)
        return hidden


def initialize(network: Network, kind: str, scale: float, factor: str, seed: int) -> None:
    """Draws all weights.

    ``kind`` is weight_init_type: "uniform" draws from -``scale`` to ``scale``; "xavier" draws from -b to b
    with b = sqrt(``scale`` / fan), where xavier_factor_type ``factor`` tells whether the fan is that of the
    inputs ("in"), of the outputs ("out") or their mean ("avg"). Weights from recurrent units to themselves
    begin orthogonal, biases with zeros. Raises ClientError for a negative ``scale`` of "xavier".
    """
    if kind == "xavier" and scale < 0:
        raise ClientError(f"weight_init_scale is {scale}; accepted with xavier: numbers from 0 on")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "bias" in name:
                weight.zero_()
            elif "weight_hh" in name:
                drawn = torch.empty(weight.shape).uniform_(-1, 1, generator=generator)
                weight.copy_(torch.linalg.svd(drawn, full_matrices=False).U * _ORTHOGONAL)
            else:
                bound = abs(scale) if kind == "uniform" else math.sqrt(scale / _fan(weight, factor))
                weight.copy_(torch.empty(weight.shape).uniform_(-bound, bound, generator=generator))


def _fan(weight: Tensor, factor: str) -> float:
    outputs, inputs, *width = weight.shape
    area = math.prod(width)
    return {"in": inputs * area, "out": outputs * area, "avg": (inputs + outputs) * area / 2}[factor]
