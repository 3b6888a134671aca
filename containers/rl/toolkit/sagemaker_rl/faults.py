"""A user's mistake."""


class Fault(Exception):
    """What is wrong, where, and what is accepted, in a sentence."""
