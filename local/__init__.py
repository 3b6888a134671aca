"""Plays SageMaker on one machine: the ``algodock`` command."""
