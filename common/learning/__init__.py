"""How networks for images are trained: steps, rates, checkpoints, several devices, what they begin with."""
