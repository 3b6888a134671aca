"""Photographs and masks: what a channel holds, decoded and changed in worker processes, as batches."""
