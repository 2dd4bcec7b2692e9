"""From an identity and a trust to an `ssl.SSLContext` whose sockets check what must be checked.

anchors     the roots of a trust, parsed once and shared by all contexts
keys        our key into OpenSSL, without a plaintext copy on disk
inner       one immutable context for one identity under one trust
sockets     sockets that let no byte out before the checks have passed
chain       the verified chain of a connection
verdicts    what OpenSSL says about the server, as our errors
alerts      what the server says about us, as our errors
probe       a second handshake that finds out what the first one could not tell
"""
