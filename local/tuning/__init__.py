"""Automatic model tuning on one machine: what a HyperParameterTuningJob of SageMaker does.

A request (`request`) says what varies (`ranges`) and how values are proposed (`search`); trials are ordinary
local jobs (`running`), some stopped early (`pruning`), all on record (`trials`) and told as AWS describes a
tuning job (`describing`) and on a page (`page`).
"""
