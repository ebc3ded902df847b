"""Role health."""
