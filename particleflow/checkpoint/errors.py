"""What goes wrong with checkpoints: damage that is found, and what cannot be written."""

from __future__ import annotations

import errno
from pathlib import Path

# What to do about an error of the system, by its number.
REMEDIES = {
    errno.ENOSPC: "free space on the disk",
    errno.EDQUOT: "free space within your quota",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "make the file system writable",
    errno.EACCES: "make the folder writable",
    errno.EPERM: "make the folder writable",
    errno.ENOENT: "put the folder back",
    errno.ENOTDIR: "put the folder back",
    errno.ESTALE: "connect the file system again",
    errno.EIO: "look at the disk, which may be failing",
    errno.EMFILE: "close files, or raise their number (ulimit -n)",
}


class CheckpointError(OSError):
    """A checkpoint cannot be written or read; its message says what to do."""


class DamageError(Exception):
    """A file is not what was written; the message completes "it ...".

    It is found, told and gone round: `Store.open` never raises it.
    """


def not_written(folder: Path, step: int | None, error: BaseException) -> CheckpointError:
    """The error of a commit that failed; `step` is that of the last good one."""
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    remedy = REMEDIES.get(getattr(error, "errno", None) or 0, "mend the cause")
    kept = (
        f"no commit was made before: {remedy}, or choose another folder"
        if step is None
        else f"the commit at step {step} is whole: {remedy}, then resume from the folder"
    )
    told = CheckpointError(f"the checkpoint in '{folder}' could not be written: {why}; {kept}")
    told.errno = getattr(error, "errno", None)
    return told


def not_read(folder: Path, error: OSError) -> CheckpointError:
    """The error of a folder whose files cannot be read, which is no damage."""
    remedy = REMEDIES.get(error.errno or 0, "mend the cause")
    told = CheckpointError(
        f"the checkpoint in '{folder}' could not be read: {error.strerror or error}: {remedy}"
    )
    told.errno = error.errno
    return told
