# SPDX-License-Identifier: GPL-2.0-only
"""The kernels listed in vm/lib.sh: KERNELS are the default, ON_REQUEST and DEBUG_KERNELS must be named."""

import os
import re

TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vm/lib.sh")


def listed(name, text):
    return re.search(rf"^{name}=\((.*)\)$", text, re.MULTILINE)[1].split()


with open(TABLE, encoding="utf-8") as file:
    LINES = file.read()
KERNELS = listed("KERNELS", LINES)
ON_REQUEST = listed("ON_REQUEST", LINES)
DEBUG_KERNELS = listed("DEBUG_KERNELS", LINES)
