"""The neural topic model image."""
