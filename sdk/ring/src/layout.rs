//! The ring's binary layout. Owned by the recorder and the reader alike; it never changes under one ABI version.
