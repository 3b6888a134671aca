"""The k-means image."""
