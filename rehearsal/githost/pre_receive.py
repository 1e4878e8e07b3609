"""The pre-receive hook of every push: asks the host that started it, and prints what the host says.

Run by git as a program of its own, with the pushed objects in quarantine; it knows nothing but where to ask.
https://git-scm.com/docs/githooks#pre-receive
"""

import http.client
import os
import sys
from typing import Final

ZERO: Final = "0" * 40


def main() -> int:
    """0 lets the push pass; what is printed reaches the pusher as `remote:` lines."""
    port, session = os.environ["GITHOST_PORT"], os.environ["GITHOST_SESSION"]
    question = f"{os.environ.get('GIT_QUARANTINE_PATH', '')}\n{sys.stdin.read()}"
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
    connection.request("POST", f"/-/pre-receive/{session}", body=question.encode())
    said = connection.getresponse().read().decode()
    connection.close()
    if said:
        sys.stderr.write(f"{said}\n")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
