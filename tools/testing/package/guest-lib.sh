#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Print results in the VM, which check-package counts. Sourced.

failed=0

ok() {
	echo "ok $*"
}

# not_ok NAME [DETAIL]...
not_ok() {
	failed=1
	echo "not ok $1"
	shift
	[[ $# == 0 ]] || printf '%s\n' "$@" | sed 's/^/#   /'
}

# expect NAME WANT GOT
expect() {
	if [[ $2 == "$3" ]]; then ok "$1"; else not_ok "$1" "want: $2" "got:  $3"; fi
}

# expect_match NAME REGEX TEXT
expect_match() {
	if [[ $3 =~ $2 ]]; then ok "$1"; else not_ok "$1" "want: /$2/" "got:  $3"; fi
}

finish() {
	exit "$failed"
}
