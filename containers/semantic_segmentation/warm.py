"""Compiles the kernels when an image is built: those of the optimizers are all there are."""

from common.optimizer_kernels import compile_all

__all__ = ["compile_all"]
