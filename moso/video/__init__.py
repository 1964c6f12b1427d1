"""Videos outside the pipeline: files that people and other programs have, read into frames and written from them.

    recording = read(Path("push.mp4"), first=3, count=2)     # frames uint8 (N, T, H, W, 3), fps or None
    write(Path("prediction.gif"), clips, fps=10.0)           # .mp4 .gif .png .npy, by the suffix

Nothing here knows a model. PyAV and Pillow are imported where they are needed (`pip install 'moso[video]'`); .npy needs
neither.
"""

from moso.video.reading import Recording, read
from moso.video.writing import SUFFIXES, write, write_array

__all__ = ["SUFFIXES", "Recording", "read", "write", "write_array"]
