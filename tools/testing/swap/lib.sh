#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What the tests of the tool "iptnl" share, on top of the selftests' lib.sh: the
# kernel's own modules to begin with, pictures of all namespaces to compare.

# shellcheck source=tools/testing/selftests/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../selftests/lib.sh"

SWAP_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
IPTNL=$(cd "$SWAP_DIR/../../iptnl" && pwd)/iptnl
KERNEL_DIR=/lib/modules/$(uname -r)/kernel/net/ipv4
# shellcheck disable=SC2034
OURS_DIR=/lib/modules/$(uname -r)/updates

# in_tree MODULE...: load files of the kernel's
in_tree()
{
	local m file
	for m; do
		is_loaded "$m" || for file in "$KERNEL_DIR/$m.ko"*; do
			insmod "$file"
		done
	done
}

# begin_in_tree: the kernel's own modules are loaded, and only they
begin_in_tree()
{
	remove_modules
	in_tree tunnel4 gre ip_tunnel ipip ip_gre
	defer remove_modules
}

# whose SIDE: all four are of that side: ours or theirs
whose()
{
	local m
	for m in tunnel4 gre ipip ip_gre; do
		is_loaded "$m" || return 1
		case $1 in
		ours) is_ours "$m" || return 1 ;;
		theirs) ! is_ours "$m" || return 1 ;;
		esac
	done
}

# iptnl ARG...: run it, its output in $TMP/said; -> its exit status
iptnl()
{
	local rc=0
	"$IPTNL" "$@" >"$TMP/said" 2>&1 </dev/null || rc=$?
	return "$rc"
}

# picture FILE NS...: all there is to see of these namespaces, without counters
picture()
{
	local file=$1
	shift
	python3 "$SWAP_DIR/picture.py" "$@" >"$TMP/$file"
}

# same NAME FILE FILE: two pictures
same()
{
	if cmp -s "$TMP/$2" "$TMP/$3"; then
		ok "$1"
	else
		not_ok "$1" "$(diff "$TMP/$2" "$TMP/$3" | cut -c1-600 | head -n 40)"
	fi
}

# status_is NAME WANT COMMAND...: exit status
status_is()
{
	local name=$1 want=$2 rc=0
	shift 2
	"$@" || rc=$?
	if [ "$rc" = "$want" ]; then
		ok "$name"
	else
		not_ok "$name" "exit status $rc, not $want" "$(head -c 4000 "$TMP/said")"
	fi
}

# said NAME REGEX: a line of what iptnl said last matches
said()
{
	if has_line "$2" "$TMP/said"; then
		ok "$1"
	else
		not_ok "$1" "no line like /$2/ in:" "$(head -c 4000 "$TMP/said")"
	fi
}

# quote TEXT: as a regular expression that matches just that
quote()
{
	# shellcheck disable=SC2001
	sed 's/[].*+?(){}|^$\\[]/\\&/g' <<<"$1"
}
