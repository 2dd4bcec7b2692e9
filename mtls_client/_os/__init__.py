"""The operating system: files, locks, forks, optional packages."""
