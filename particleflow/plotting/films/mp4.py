"""MP4 films: H.264 by ffmpeg, which the package imageio-ffmpeg brings along."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt32

from particleflow._files import replacing
from particleflow.plotting.scenes.records import unwritable

# Constant rate factor of x264, 0 ... 51: thin trails and small discs keep their edges up to here.
QUALITY = 23
# Speed of x264: slower ones save no bytes on discs that move over an even ground.
PRESET = "veryfast"
# Number of lines at the end of what ffmpeg says that are shown when it fails.
LAST = 3


def ffmpeg() -> str:
    """Return the path of the ffmpeg of imageio-ffmpeg.

    Raises
    ------
    ImportError
        The package is missing, or brings no ffmpeg for this machine.
    """
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"`file` ends in .mp4, which needs the package imageio-ffmpeg ({error}): install it"
            " with `pip install particleflow-sim[film]`, or write a .gif"
        ) from error


class Encoder:
    """Frames of one size go in, an H.264 stream in yuv420p with its index in front comes out.

    An odd width or height is made even by a line of the ground. `part` is the file that is written
    for the film `path`, `said` holds what ffmpeg says.
    """

    def __init__(
        self,
        path: Path,
        part: str,
        said: IO[bytes],
        size: tuple[int, int],
        fps: int,
        ground: str,
    ) -> None:
        self.path, self.said = path, said
        width, height = size
        even = f"pad=ceil(iw/2)*2:ceil(ih/2)*2:color={ground}"
        # The conversion and the player must use one matrix, or colours change.
        bt709 = "color_primaries=bt709:color_trc=bt709:colorspace=bt709"
        self.process = subprocess.Popen(
            [
                *(ffmpeg(), "-y", "-v", "error", "-nostdin"),
                *("-f", "rawvideo", "-pix_fmt", "rgb0", "-s", f"{width}x{height}"),
                *("-r", str(fps), "-i", "pipe:0", "-an"),
                *("-vf", f"{even},scale=out_color_matrix=bt709:out_range=tv,setparams={bt709}"),
                *("-c:v", "libx264", "-preset", PRESET, "-crf", str(QUALITY)),
                *("-pix_fmt", "yuv420p", "-threads", "1"),
                *("-movflags", "+faststart", "-f", "mp4", f"file:{part}"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self.said,
            # Too large a file is then an error that ffmpeg tells, and not its end.
            restore_signals=False,
        )

    def add(self, frame: UInt32[np.ndarray, "H W"], times: int = 1) -> None:
        """Show a frame for so many ticks.

        Raises
        ------
        OSError
            ffmpeg has ended.
        """
        assert self.process.stdin is not None
        data = np.ascontiguousarray(frame).data.cast("B")
        try:
            for _ in range(times):
                self.process.stdin.write(data)
        except BrokenPipeError:
            self.finish()
            raise

    def finish(self) -> None:
        """Wait for the end of the film.

        Raises
        ------
        OSError
            ffmpeg has failed.
        """
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        code = self.process.wait()
        if code:
            self.said.seek(0)
            lines = self.said.read().decode(errors="replace").strip().splitlines()[-LAST:]
            how = f"ended with code {code}" if code > 0 else f"was ended by {_signal(-code)}"
            raise unwritable(self.path, ": ".join([f"ffmpeg {how}", *lines]))

    def stop(self) -> None:
        """End ffmpeg if it still runs, and let go of what it holds."""
        if self.process.poll() is None:
            self.process.kill()
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let signals wait within the block, so that no process is started that nobody knows.

    A process that is started within never gets them: Ctrl-C ends this process alone, which then
    ends the other.
    """
    if sys.platform == "win32":
        yield
        return
    stops = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def written(path: Path, size: tuple[int, int], fps: int, ground: str) -> Iterator[Encoder]:
    """An encoder whose film becomes `path` once it is whole; nothing is left of a failed one.

    Raises
    ------
    OSError
        The file cannot be written, or ffmpeg has failed.
    """
    ours = True
    try:
        with replacing(path) as file, tempfile.TemporaryFile() as said:
            encoder = None
            try:
                with _uninterrupted():
                    encoder = Encoder(path, file.name, said, size, fps, ground)
                ours = False
                yield encoder
                encoder.finish()
                ours = True
            finally:
                if encoder is not None:
                    encoder.stop()
    except OSError as error:
        if not ours:  # the frames', or told already
            raise
        raise unwritable(path, error.strerror or error) from error
