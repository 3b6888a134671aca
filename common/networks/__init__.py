"""Networks that more than one algorithm has, and how their parameters are named in MXNet's files."""
