"""The semantic segmentation image."""
