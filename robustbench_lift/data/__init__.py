"""Images with ids: where they come from, and how they are checked."""
