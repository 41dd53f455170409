"""A film cut into chunks, worked on by many, resumed, and joined."""
