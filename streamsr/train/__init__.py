"""Training: data, losses, two stages, distillation, and what came of it."""
