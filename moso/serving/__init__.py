"""A trained model outside this repository: the registered pyfunc (pyfunc.py), and the HTTP service (app.py).

service.py      a task done for a caller: limits, the model that is current, figures
champion.py     which model is current; takes up a new one while requests run
gate.py         how many requests at once, and for how long
reading.py      what a request brings -> frames and parameters
writing.py      a result -> npy, JSON, PNG, GIF, MP4, zip, safetensors
parameters.py   parameters as text or JSON, checked against their types
app.py          the addresses, errors as one line, OpenAPI
demo.py         the page for people, made with gradio, on the same service
"""
