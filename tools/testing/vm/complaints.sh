#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Find lines in a kernel log that make a run fail. Sourced.

[[ -n ${IPTNL_COMPLAINTS:-} ]] && return
readonly IPTNL_COMPLAINTS=1

# The list is in selftests/, which must work without this directory.
SELFTESTS_DIR=$(dirname "${BASH_SOURCE[0]}")/../selftests
COMPLAINT_PATTERNS=$(grep -v '^#' "$SELFTESTS_DIR/complaints")

# complaints LOG... : print these lines with context after them, at most 60 lines in total.
complaints() {
	cat "$@" 2>/dev/null | tr -d '\r' | awk -f "$SELFTESTS_DIR/own_races.awk" | awk '!seen[$0]++' |
		grep -E -A 12 -e "$COMPLAINT_PATTERNS" | head -n 60 || true
}
