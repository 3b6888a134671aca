"""What AWS's reinforcement learning examples import as ``sagemaker_rl``, for Ray RLlib of today.

It is found after a source's own modules, so a source that brings its own ``sagemaker_rl`` gets that. Nothing
here imports Algodock: the program that uses it may have modules of any name.
"""
