"""The embedded data set `sim_push`: a simulated arm that pushes objects about in a bin, filmed by a fixed camera.

Importing this package does not import MuJoCo; simulating does.
"""

from moso.sim.config import CameraConfig, LightConfig, ObjectsConfig, SimulationConfig, StrokesConfig
from moso.sim.dataset import simulate

__all__ = ["CameraConfig", "LightConfig", "ObjectsConfig", "SimulationConfig", "StrokesConfig", "simulate"]
