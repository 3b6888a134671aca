"""The IP Insights image."""
