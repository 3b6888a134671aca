"""Decoders: from encoded source and target words to hidden units, all at once or a word at a time.

Both ways compute the same. A step's state is a tuple of tensors with a row for each hypothesis, so that a
search may choose rows of them.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from containers.seq2seq.attention import Attending, Attention, Source, last, mean
from containers.seq2seq.config import PAD, Config
from containers.seq2seq.convolution import Convolution
from containers.seq2seq.layers import Embedding, Linear
from containers.seq2seq.recurrence import Cell, Deferred, linear

State = tuple[Tensor, ...]


def _attend(attending: Attending, states: Tensor, slots: Tensor | None, width: int) -> tuple[Tensor, Tensor]:
    """The context and probabilities, a row each, of decoder states in rows.

    Of each sentence's ``width`` queries, those in ``slots`` are there; None for all of them.
    """
    queries = attending.query(states)
    if slots is None:
        context, probabilities = attending(queries.view(-1, width, queries.shape[1]))
        return context.flatten(0, 1), probabilities.flatten(0, 1)
    grid = queries.new_zeros(attending.sentences * width, queries.shape[1])
    grid[slots] = queries
    context, probabilities = attending(grid.view(-1, width, queries.shape[1]))
    return context.flatten(0, 1)[slots], probabilities.flatten(0, 1)[slots]


class RecurrentDecoder(nn.Module):
    """Recurrent layers whose lowest is fed with the word before and the state that predicted it.

    The lowest layer attends to the source, and those above it see the context too; without
    ``rnn_attention_in_upper_layers`` it is the highest that attends. Layer and context make the state that
    predicts.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        hidden, layers = config.rnn_num_hidden, config.num_layers_decoder
        encoded = config.encoder_num_hidden
        self.kind, self._init = config.rnn_cell_type, config.rnn_decoder_state_init
        self._dropout, self.hidden_dropout = config.embed_dropout_target, config.rnn_decoder_hidden_dropout
        self.embed = config.num_embed_target
        self.residual = config.rnn_first_residual_layer - 1 if config.rnn_residual_connections else layers
        self.upper = config.rnn_attention_in_upper_layers and layers > 1
        self._size = hidden
        self.embedding = Embedding(config.vocab_target_size, config.num_embed_target)
        above = hidden + encoded if self.upper else hidden
        self.cells = nn.ModuleList(
            Cell(self.kind, above if number else config.num_embed_target + hidden, hidden)
            for number in range(layers)
        )
        self._states = (2 if self.kind == "lstm" else 1) * layers
        initial = 0 if self._init == "zero" else self._states
        self.initial = nn.ModuleList(Linear(encoded, hidden) for _ in range(initial))
        self.attention = Attention(
            config.rnn_attention_type, encoded, hidden, config.rnn_attention_num_hidden
        )
        self.hidden = Linear(hidden + encoded, hidden)

    def source(self, encoded: Tensor, lengths: Tensor) -> Source:
        """What a decoding attends to."""
        return self.attention.source(encoded, lengths)

    def start(self, encoded: Tensor, lengths: Tensor) -> State:
        """The state before the first word: what predicts, then each layer's own."""
        empty = encoded.new_zeros(len(encoded), self._size)
        if self._init == "zero":
            return (empty,) * (1 + self._states)
        summary = (last if self._init == "last" else mean)(encoded, lengths)
        return empty, *(torch.tanh(initial(summary)) for initial in self.initial)

    def forward(self, encoded: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """(B, T, hidden) that predict the word after each of the ids (B, T); zeros for padding."""
        # Longer targets first, so that those which go on at a position are always the first rows.
        positions = torch.arange(1, target.shape[1] + 1, device=target.device)
        sizes, order = ((target != PAD) * positions).amax(1).sort(descending=True)
        going = positions[:, None] <= sizes  # (T, B)
        encoded, lengths = encoded[order], lengths[order]
        words = functional.dropout(self.embedding(target[order].t()[going]), self._dropout, self.training)
        loop = self.loop(self.source(encoded, lengths))
        state = self.start(encoded, lengths)
        outputs = []
        for base in loop.before(words).split([rows for rows in going.sum(1).tolist() if rows]):
            state, _ = loop.after(base, tuple(part[: len(base)] for part in state))
            outputs.append(state[0])
        position, sentence = going.nonzero(as_tuple=True)
        hidden = words.new_zeros(*target.shape, self._size)
        return hidden.index_put((order[sentence], position), torch.cat(outputs))

    def loop(self, source: Source) -> RecurrentLoop:
        """Steps that attend to ``source``."""
        return RecurrentLoop(self, source)


class RecurrentLoop:
    """A `RecurrentDecoder`, a word at a time."""

    def __init__(self, decoder: RecurrentDecoder, source: Source) -> None:
        self._decoder = decoder
        self._lowest, *upper = (cast(Cell, cell) for cell in decoder.cells)
        self._cells = [self._lowest.begin(decoder.embed), *(cell.begin() for cell in upper)]
        self._each = 2 if decoder.kind == "lstm" else 1
        self._attending = decoder.attention.on(source)
        self._hidden = Deferred(decoder.hidden.weight)

    def attend(self, source: Source) -> None:
        """Goes on with ``source``, which holds some of the sentences."""
        self._attending = self._decoder.attention.on(source)

    def before(self, embedded: Tensor) -> Tensor:
        """What embedded words (..., embed), of any number of steps, give to the lowest layer's gates."""
        return self._lowest.before(embedded)

    def step(
        self, words: Tensor, position: int, state: State, slots: Tensor | None, width: int
    ) -> tuple[State, Tensor]:
        """The state after ``words`` (rows,), and the probabilities (rows, S) of the source's tokens.

        ``state[0]`` predicts the next word. Rows are the ``width`` hypotheses of each sentence, or those of
        them in ``slots``. All have the word at ``position``.
        """
        base = self.before(self._decoder.embedding.weight[words])
        return self.after(base, state, slots, width)

    def after(
        self, base: Tensor, state: State, slots: Tensor | None = None, width: int = 1
    ) -> tuple[State, Tensor]:
        """`step` for what words gave to the lowest layer's gates."""
        decoder = self._decoder
        states = [state[at : at + self._each] for at in range(1, len(state), self._each)]
        output, after = self._cells[0](base, state[0], states[0])
        follow: list[Tensor] = [*after]
        context = probabilities = None
        if decoder.upper:
            context, probabilities = _attend(self._attending, output, slots, width)
        for number, cell in enumerate(self._cells[1:], 1):
            inputs = output if context is None else torch.cat([output, context], 1)
            above, after = cell(None, inputs, states[number])
            output = output + above if number >= decoder.residual else above
            follow += after
        if context is None or probabilities is None:
            context, probabilities = _attend(self._attending, output, slots, width)
        both = functional.dropout(torch.cat([output, context], 1), decoder.hidden_dropout, decoder.training)
        hidden = linear(decoder.hidden.bias, both, self._hidden).tanh()
        return (hidden, *follow), probabilities


class ConvolutionalDecoder(nn.Module):
    """Convolutions over the words so far, each with residual connections and attention to the source.

    As in Sockeye 1, keys and values are the encoded tokens themselves and nothing is scaled.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        hidden, embed = config.cnn_num_hidden, config.num_embed_target
        self._dropout, self.hidden_dropout = config.embed_dropout_target, config.cnn_hidden_dropout
        self.behind = config.cnn_kernel_width_decoder - 1
        self.embedding = Embedding(config.vocab_target_size, embed)
        self.positions = Embedding(config.max_seq_len_target + 1, embed)  # <s> has the first
        self.input = Linear(embed, hidden, bias=False)
        self.layers = nn.ModuleList(
            Convolution(hidden, config.cnn_kernel_width_decoder, config.cnn_activation_type)
            for _ in range(config.num_layers_decoder)
        )
        self.attention = Attention("dot", hidden, hidden, hidden)

    def source(self, encoded: Tensor, lengths: Tensor) -> Source:
        """What a decoding attends to."""
        return self.attention.source(encoded, lengths)

    def start(self, encoded: Tensor, lengths: Tensor) -> State:
        """The state before the first word: what predicts, then what each layer has seen last."""
        hidden = encoded.shape[2]
        seen = encoded.new_zeros(len(encoded), self.behind, hidden)
        return encoded.new_zeros(len(encoded), hidden), *[seen] * len(self.layers)

    def forward(self, encoded: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """(B, T, hidden) that predict the word after each of the ids (B, T)."""
        attending = self.attention.on(self.source(encoded, lengths))
        embedded = functional.dropout(self.embedding(target), self._dropout, self.training)
        hidden = self.input(embedded + self.positions.weight[: target.shape[1]])
        for layer in self.layers:
            inputs = functional.dropout(hidden.transpose(1, 2), self.hidden_dropout, self.training)
            seen = layer(functional.pad(inputs, (self.behind, 0))).transpose(1, 2)
            hidden = hidden + seen + attending(seen)[0]
        return hidden

    def loop(self, source: Source) -> ConvolutionalLoop:
        """Steps that attend to ``source``."""
        return ConvolutionalLoop(self, source)


class ConvolutionalLoop:
    """A `ConvolutionalDecoder`, a word at a time and without dropout."""

    def __init__(self, decoder: ConvolutionalDecoder, source: Source) -> None:
        self._decoder = decoder
        self._attending = decoder.attention.on(source)

    def attend(self, source: Source) -> None:
        """Goes on with ``source``, which holds some of the sentences."""
        self._attending = self._decoder.attention.on(source)

    def step(
        self, words: Tensor, position: int, state: State, slots: Tensor | None, width: int
    ) -> tuple[State, Tensor]:
        """As `RecurrentLoop.step`; the probabilities are the layers' mean."""
        decoder = self._decoder
        hidden = decoder.input(decoder.embedding.weight[words] + decoder.positions.weight[position])
        follow, found = [], []
        for layer, seen in zip(decoder.layers, state[1:], strict=True):
            window = torch.cat([seen, hidden[:, None]], 1)
            follow.append(window[:, 1:])
            convolved = cast(Convolution, layer).step(window)
            context, probabilities = _attend(self._attending, convolved, slots, width)
            found.append(probabilities)
            hidden = hidden + convolved + context
        return (hidden, *follow), torch.stack(found).mean(0)
