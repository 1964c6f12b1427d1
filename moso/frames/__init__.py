"""The frame cache (uint8 shards, memory-mapped) and clips: windows that never cross an episode.

cache, resize and statistics need no torch, so that a data-only image can do without; clips does.
"""
