"""Real-ESRGAN's degradation: good pictures made bad, as cameras, editors and codecs do."""
