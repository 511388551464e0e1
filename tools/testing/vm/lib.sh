#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Shared by every tool in this directory: messages, the table of kernels, the cache and its locks.
# Sourced, never run.
#
#   ${XDG_CACHE_HOME:-~/.cache}/iptnl/
#     roots/KERNEL-HASH/      userland, kernel image and headers of one kernel   (root.sh)
#     sources/RELEASE.tar.xz  the distribution's kernel source                   (source.sh)
#     debug/KERNEL-HASH/      a debug kernel: image, build tree, modules         (debug-kernel)
#     build/KERNEL-TREE/      copy of a work tree with its object files          (layer.sh)
#     layers/KERNEL-HASH/     modules plus the depmod index, overlay of a root   (layer.sh)
#     initramfs/HASH.cpio     busybox and the modules needed to mount the root   (boot.sh)
#     kvm-HASH                whether KVM works here                             (boot.sh)
#     newest                  the last known release of "newest"                 (root.sh)
#     locks/                  one flock per thing above

[[ -n ${IPTNL_LIB:-} ]] && return
readonly IPTNL_LIB=1

VM_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TREE=$(cd "$VM_DIR/../../.." && pwd)
CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/iptnl
# By suite, see root.sh. "newest" is the newest kernel of Debian's backports. Those in ON_REQUEST are only built and
# tested when they are named.
KERNELS=(6.1 6.12 newest)
ON_REQUEST=(7.2)
# Each of KERNELS also exists in these flavours: 6.12-rt, 6.12-cloud.
FLAVOURS=(rt cloud)
# Built here, see debug.sh: of 6.12 or of the series in the name.
DEBUG_KERNELS=(debug debug-6.1 debug-newest debug-rt debug-rt-newest kcsan gcov)
# Constant during a run, although another run may find a newer one meanwhile.
IPTNL_NEWEST=${IPTNL_NEWEST-$(cat "$CACHE/newest" 2>/dev/null || true)}
QUIET=${QUIET:-}
export VM_DIR TREE CACHE IPTNL_NEWEST

# ---- messages: progress and errors go to stderr, results to stdout

die() {
	echo "${0##*/}: $*" >&2
	exit 2
}

say() {
	[[ -n $QUIET ]] || echo "# $*" >&2
}

need_root() {
	((EUID == 0)) || die "must run as root (for chroots and mounts)"
}

need_tools() {
	local t missing=()
	for t in "$@"; do
		command -v "$t" >/dev/null || missing+=("$t")
	done
	((${#missing[@]} == 0)) || die "missing ${missing[*]}; 'make deps' installs what is needed"
}

# ---- kernels: those with roots; debug kernels; "arm64", see arm64.sh; "other", of a root given with --root

OTHER_ROOT='' OTHER_RELEASE=''
export OTHER_ROOT OTHER_RELEASE

is_kernel() {
	local k flavour
	for k in "${KERNELS[@]}" "${ON_REQUEST[@]}" "${DEBUG_KERNELS[@]}" arm64; do
		[[ $k == "$1" ]] && return 0
	done
	for k in "${KERNELS[@]}"; do
		for flavour in "${FLAVOURS[@]}"; do
			[[ $k-$flavour == "$1" ]] && return 0
		done
	done
	return 1
}

check_kernel() {
	is_kernel "$1" || die "unknown kernel '$1' (known: ${KERNELS[*]} ${ON_REQUEST[*]} ${DEBUG_KERNELS[*]} arm64; 6.12-rt, 6.12-cloud and so on)"
}

is_debug() {
	[[ " ${DEBUG_KERNELS[*]} " == *" $1 "* ]]
}

# The root with the userland of a kernel. That of a debug kernel is the root of its series.
root_name() {
	if ! is_debug "$1"; then
		echo "$1"
		return
	fi
	case $1 in
	*-6.1) echo 6.1 ;;
	*-newest) echo newest ;;
	*) echo 6.12 ;;
	esac
}

# ---- the cache

# A short hash of stdin.
hash_text() {
	sha256sum | cut -c1-12
}

# with_lock NAME COMMAND... : run COMMAND holding the lock NAME of the cache; prints a message when it must wait. Call it
# with errexit on, which COMMAND relies on.
with_lock() {
	local name=$1 fd
	shift
	mkdir -p "$CACHE/locks"
	exec {fd}>"$CACHE/locks/$name"
	if ! flock -n "$fd"; then
		say "waiting for another run that is making $name"
		flock "$fd"
	fi
	"$@"
	exec {fd}>&-
}

# forget PATTERN DAYS : drop cached directories not used for so long.
forget() {
	local dir
	while IFS= read -r -d '' dir; do
		rm -rf --one-file-system "$dir"
	done < <(find "$CACHE" -mindepth 2 -maxdepth 2 -path "$CACHE/$1" -mtime "+$2" -print0 2>/dev/null)
}
