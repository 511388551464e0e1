#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The distribution's kernel source: the debug kernel is built from it, and lint takes checkpatch from it.
# Sourced.

[[ -n ${IPTNL_SOURCE:-} ]] && return
readonly IPTNL_SOURCE=1
# shellcheck source=tools/testing/vm/root.sh
source "$(dirname "${BASH_SOURCE[0]}")/root.sh"

readonly SOURCE_KERNEL=6.12

# The packed source that goes with the release the root of SOURCE_KERNEL holds.
source_path() {
	echo "$CACHE/sources/linux-$(root_release "$(root_path "$SOURCE_KERNEL")").tar.xz"
}

source_ensure() {
	root_ensure "$SOURCE_KERNEL"
	[[ -f $(source_path) ]] || with_lock source source_make "$(source_path)"
}

source_make() {
	local tmp=$1.tmp
	[[ ! -f $1 ]] || return 0
	say "fetching the source of kernel $SOURCE_KERNEL (once, 150 MB)"
	bootstrap "kernel source" "$(root_suite "$SOURCE_KERNEL")" "$tmp" --variant=extract \
		--include="linux-source-$SOURCE_KERNEL"
	mv "$tmp/usr/src/linux-source-$SOURCE_KERNEL.tar.xz" "$1"
	rm -rf --one-file-system "$tmp"
}

# source_unpack DIR [MEMBER...] : all of it, or these members (without the leading directory).
source_unpack() {
	local dir=$1
	shift
	mkdir -p "$dir"
	tar -xJf "$(source_path)" -C "$dir" --strip-components=1 "${@/#/linux-source-$SOURCE_KERNEL/}"
}
