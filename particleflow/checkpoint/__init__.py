"""Checkpoints: a run in a folder that survives a kill, a full disk and damage, and goes on.

A run appends its records to raw files, and commits now and then. A commit is the state from which
the run goes on, and a manifest with the SHA-256 of all that is new. The manifests are a chain: each
holds the SHA-256 of the one before. Opening a folder checks the whole chain, and goes back to the
last commit of which every byte is as it was written. Nothing is ever unpickled, no size is believed
before the file is seen to be as long, and no name leads out of the folder.

In reading order: `errors` (what is told), `documents` (JSON with its own SHA-256), `arrays`
(tensors in an uncompressed .npz), `columns` (raw files of records), `segments` (commits, and what
of them is found whole), `head` (what the run is), `lock` (one process at a time), `disk` (rows and
commits are written) and `writer` (the thread that does it), `store` (all of it: `Store`),
`vocabulary` and `parts` (flows and their parts as JSON).
"""

from particleflow.checkpoint.disk import Commit
from particleflow.checkpoint.errors import CheckpointError
from particleflow.checkpoint.parts import DecodingError, EncodingError, decoded, encoded
from particleflow.checkpoint.store import Store

__all__ = [
    "CheckpointError",
    "Commit",
    "DecodingError",
    "EncodingError",
    "Store",
    "decoded",
    "encoded",
]
