"""Object detection: where in a picture objects of known classes are, by a single-shot detector."""
