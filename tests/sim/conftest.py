"""Episodes that several tests look at, simulated once."""

import pytest

from moso.sim import SimulationConfig
from moso.sim.episode import SimEpisode, simulate_episode


@pytest.fixture(scope="session")
def tiny() -> SimulationConfig:
    """32x32, 8 frames, one ray a pixel: about 20 ms an episode."""
    return SimulationConfig(frames=8, height=32, width=32, supersampling=1)


@pytest.fixture(scope="session")
def episodes() -> list[SimEpisode]:
    """Twelve episodes of the embedded data set, seeds 0 to 11."""
    return [simulate_episode(SimulationConfig(), seed) for seed in range(12)]
