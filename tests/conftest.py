"""Every shape in moso's annotations is checked while the tests run: jaxtyping's hook, with beartype.

MOSO_TYPECHECK=off leaves it out (it costs a few seconds of imports). Processes that tests start are not checked.
"""

import os

# sqlite and MLflow's usage figures, DVC's analytics: no test sends anything anywhere.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")

if os.environ.get("MOSO_TYPECHECK") != "off":
    from jaxtyping import install_import_hook

    install_import_hook("moso", "beartype.beartype")
