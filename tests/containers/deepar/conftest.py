"""Fixtures of DeepAR's tests."""

from tests.containers.deepar.jobs import trained

__all__ = ["trained"]
