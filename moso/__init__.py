"""MOSO: video prediction by motion, scene and object decomposition (arXiv 2303.03684)."""

__version__ = "0.1.0"
