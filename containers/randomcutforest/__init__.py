"""The random cut forest image."""
