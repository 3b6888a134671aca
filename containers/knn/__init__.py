"""The KNN image."""
