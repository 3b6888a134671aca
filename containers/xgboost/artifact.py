"""Reads model files: the library's own formats, and what older images of AWS left."""

from __future__ import annotations

LIBSVM_BASE = "algodock_libsvm_base"
"""A booster's attribute: whether the libsvm data that it learnt from count indices from 0 or 1."""
