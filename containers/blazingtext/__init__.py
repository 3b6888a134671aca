"""BlazingText: word vectors and text classification in fastText's formats."""
