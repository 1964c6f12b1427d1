"""What becomes the champion, and how it is described: pure functions. MLflow's side is an adapter."""
