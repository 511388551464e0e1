# SPDX-License-Identifier: GPL-2.0-only
"""KTAP of programs on the host that run tests in VMs; the selftests have ksft.py"""

import threading
import time


class Ktap:
    """From its making to end(), results in any thread"""

    def __init__(self):
        self.number = self.failed = 0
        self.lock = threading.Lock()
        self.start = time.monotonic()
        print("TAP version 13", flush=True)

    def result(self, fine, text, *details):
        with self.lock:
            self.number += 1
            self.failed += not fine
            print("ok" if fine else "not ok", self.number, text, flush=True)
            for line in details:
                print("#  ", line, flush=True)

    def note(self, text):
        with self.lock:
            print(f"# {time.monotonic() - self.start:.0f} s: {text}", flush=True)

    def end(self):
        """-> exit status, a failure if there was no result"""
        print(f"1..{self.number}", flush=True)
        return 1 if self.failed or not self.number else 0
