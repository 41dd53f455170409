"""Programs: each file is one job, readable from top to bottom, made of the parts in streamsr/."""
