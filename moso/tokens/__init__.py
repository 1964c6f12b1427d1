"""Token grids of a clip and the store of them: the only thing that Stage I hands to Stage II."""
