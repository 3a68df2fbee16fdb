"""The NequIP family as readable torch modules."""
