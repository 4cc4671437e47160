"""What stays on disk: run directories, saved policies, compiled programs."""
