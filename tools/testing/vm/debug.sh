#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Where the debug kernel is; debug-kernel makes it. Sourced.

[[ -n ${IPTNL_DEBUG:-} ]] && return
readonly IPTNL_DEBUG=1
# shellcheck source=tools/testing/vm/source.sh
source "$(dirname "${BASH_SOURCE[0]}")/source.sh"

readonly DEBUG_RECIPE=1         # increment when the debug kernel is built differently
export DEBUG_MOUNT=/mnt/debug   # where the root sees it

# Holds build/ (the configured and built source), bzImage and modules/usr/lib/modules/RELEASE.
debug_path() {
	echo "$CACHE/debug/$({ echo "$DEBUG_RECIPE"; basename "$(source_path)"; cat "$VM_DIR/debug.config"; } | hash_text)"
}

debug_release() {
	cat "$(debug_path)/build/include/config/kernel.release" 2>/dev/null ||
		die "no debug kernel yet: 'make debug-kernel' builds it (15 minutes)"
}
