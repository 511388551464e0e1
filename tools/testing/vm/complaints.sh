#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What in a kernel log turns a pass into a failure. Sourced.

[[ -n ${IPTNL_COMPLAINTS:-} ]] && return
readonly IPTNL_COMPLAINTS=1

COMPLAINT_PATTERNS=(
	'WARNING: ' 'BUG: ' 'kernel BUG at' 'Oops' 'Call Trace:' 'Kernel panic' 'general protection fault'
	'possible circular locking' 'possible recursive locking' 'inconsistent lock state' 'irq lock inversion'
	'suspicious RCU usage' 'DEBUG_LOCKS_WARN_ON' 'held lock freed' 'still held' 'bad unlock balance'
	'sleeping function called' 'scheduling while atomic' 'Voluntary context switch within RCU'
	'rcu: INFO:' 'INFO: rcu' 'INFO: task .* blocked' 'soft lockup'
	'KASAN: ' 'UBSAN: ' 'KCSAN: ' 'ODEBUG: ' 'list_add corruption' 'list_del corruption'
	'unregister_netdevice: waiting' 'refcount_t: ' 'ref_tracker: ' 'leaked'
	'exports duplicate symbol' 'disagrees about version' 'Unknown symbol'
)

# complaints LOG... : the offending lines, each with what follows it at once, at most 60 lines in all.
complaints() {
	local pattern
	pattern=$(IFS='|'; echo "${COMPLAINT_PATTERNS[*]}")
	cat "$@" 2>/dev/null | tr -d '\r' | awk '!seen[$0]++' | grep -E -A 12 -e "$pattern" | head -n 60 || true
}
