"""Measurements that the project ships. `make bench-data` runs bench.data; nothing here is part of the wheel."""
