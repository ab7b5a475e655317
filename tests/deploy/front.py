"""TLS before the stores of a machine: `python -m tests.deploy.front FOLDER NAME:PORT=SERVER ...`, until it is ended.

Each name shows the certificate of its own in the folder, and wants one that the folder's authority has signed.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from signal import pause

from tests.tls import Pair, in_front_of

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with ExitStack() as fronts:
        for told in sys.argv[2:]:
            place, _, server = told.partition("=")
            name, _, port = place.partition(":")
            shown = Pair(folder / f"{name}.crt", folder / f"{name}.key")
            carried = in_front_of(int(port), shown, clients=folder / "ca.pem", at=(name, int(port)), host=server)
            fronts.enter_context(carried)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        pause()
