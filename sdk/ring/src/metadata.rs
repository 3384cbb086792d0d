//! The CTF 1.8 metadata (TSDL) that describes a ring: written here, parsed here, nowhere else.
