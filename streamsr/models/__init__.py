"""The networks, how they are recognised from their weights, and where weights are found. torch only."""
