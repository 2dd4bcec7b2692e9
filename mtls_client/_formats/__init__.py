"""The file formats of certificates and keys, told by their bytes (pure: no I/O)."""
