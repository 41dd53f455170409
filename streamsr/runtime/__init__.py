"""Threads, processes, queues, shared-memory slots and meters. Standard library only; knows nothing of video."""
