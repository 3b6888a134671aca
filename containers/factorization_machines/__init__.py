"""The factorization machines image."""
