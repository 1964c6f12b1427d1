"""The words that a caller chooses among, as types: `typing.get_args` of one lists them. Imports nothing, so that the
command line, which must answer `--help` at once, names the same ones as the tasks.
"""

from __future__ import annotations

from typing import Literal

Component = Literal["scene", "object", "motion"]
"""What a clip is taken apart into."""

Part = Literal["scene", "object", "motion", "object_motion"]
"""What `decompose` draws alone (Sec. C.3)."""

Carry = Literal["tokens", "frames"]
"""What a clip of a rollout hands to the next: its tokens, or its last frames, decoded and encoded again."""

TokensFrom = Literal["given_frames", "whole_clip"]
"""What interpolation takes scene and object tokens from; the paper: "whole_clip", the missing frames included."""

Schedule = Literal["cosine", "linear", "square"]
"""gamma, the share of motion tokens that stays masked (Sec. 3.2)."""

SceneObject = Literal["sample", "argmax"]
"""How scene and object tokens are drawn: by their distribution, or the likeliest."""
