"""What a person sees: progress on a terminal."""
