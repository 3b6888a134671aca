"""What every training container shares."""
