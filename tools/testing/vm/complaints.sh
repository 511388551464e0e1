#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What in a kernel log turns a pass into a failure. Sourced.

[[ -n ${IPTNL_COMPLAINTS:-} ]] && return
readonly IPTNL_COMPLAINTS=1

# The selftests' list: they must run without this directory.
COMPLAINT_PATTERNS=$(grep -v '^#' "$(dirname "${BASH_SOURCE[0]}")/../selftests/complaints")

# complaints LOG... : the offending lines, each with what follows it at once, at most 60 lines in all.
complaints() {
	cat "$@" 2>/dev/null | tr -d '\r' | awk '!seen[$0]++' | grep -E -A 12 -e "$COMPLAINT_PATTERNS" | head -n 60 || true
}
