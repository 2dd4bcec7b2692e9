"""The file formats of certificates and keys, told by their bytes.

Read in this order: `reading` tells the format; `pem`, `keys`, `pkcs12` and `protection` take it
apart with `parsing`; `contents` is what was found; `pairing`, `selection` and `chain` make one
identity of it; `fitness` judges it and `writing` turns it into bytes again. Nothing here opens a
file, except that a password may be one (`passwords`).
"""
