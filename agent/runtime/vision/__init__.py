"""From a camera's frame to a model's input, and from its outputs to results in the frame's own pixels, as the signed
card says (docs/card.md). It knows no socket and no engine.

Pillow reads and resizes, numpy does the arithmetic: see docs/decisions/0019-pixels.md. Only a worker that was asked
DETECT imports `pipeline`; what a DETECT would give is known without it, from littoral/bundle/task.py.
"""

import os

# numpy's linear algebra starts a thread for every core when it is imported, and nothing here uses it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
