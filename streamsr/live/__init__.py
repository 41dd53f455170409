"""Policies of a live stream: addresses, timeline, drops, ladder, status. Standard library only."""
