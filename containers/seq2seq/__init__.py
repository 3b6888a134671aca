"""Sequence to sequence: an encoder and a decoder with attention, recurrent or convolutional."""
