"""Videos outside the pipeline: files that people and other programs have, read into frames and written from them.

    recording = read(Path("push.mp4"), first=3, count=2)     # frames uint8 (N, T, H, W, 3), fps or None
    for frames in stream(Path("push.mp4")): …                # uint8 (n, H, W, 3), a few at a time; also bytes
    write(Path("prediction.gif"), clips, fps=10.0)           # .mp4 .gif .png .npy, by the suffix

Nothing here knows a model. PyAV and Pillow are imported where they are needed (`pip install 'moso[video]'`); .npy needs
neither.
"""

from moso.video.reading import Recording, read
from moso.video.streaming import Facts, probe, stream, stream_timed
from moso.video.writing import SUFFIXES, write, write_array

__all__ = ["SUFFIXES", "Facts", "Recording", "probe", "read", "stream", "stream_timed", "write", "write_array"]
