"""The operating system: files and their permissions."""
