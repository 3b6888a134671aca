"""The PCA image."""
