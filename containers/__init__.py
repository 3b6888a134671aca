"""One folder an image."""
