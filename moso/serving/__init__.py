"""A trained model outside this repository: the registered pyfunc; the HTTP service comes with a later issue."""
