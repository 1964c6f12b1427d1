"""From raw files to a manifest of episodes: specs, readers (one a format), splits, quarantine."""
