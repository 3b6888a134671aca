"""What every inference container shares."""
