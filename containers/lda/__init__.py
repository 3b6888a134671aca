"""The LDA image."""
