"""Image classification: residual networks that tell what a picture shows."""
