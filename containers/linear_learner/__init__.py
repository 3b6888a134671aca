"""The linear learner image."""
