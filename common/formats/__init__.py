"""What bytes mean: decoders from a byte stream to batches, and encoders for what we write ourselves."""
