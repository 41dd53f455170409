"""streamsr: real-time video super-resolution with Real-ESRGAN networks."""

__version__ = "0.1.0"
