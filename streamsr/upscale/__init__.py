"""From batches of decoded planes to upscaled planes in slots. Knows torch and the models, not media files."""
