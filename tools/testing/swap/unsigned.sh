#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Where the kernel takes signed modules only, "iptnl swap" refuses unsigned ones
# before it touches anything. The demand cannot be taken back in this boot, so
# this script is the last by its name, and loads no module of ours.
. "$(dirname "$0")/lib.sh"

begin_in_tree
new_ns n0
n0 ip link add t0 type ipip local 192.0.2.1 remote 192.0.2.2
check "ours is not signed" test -z "$(modinfo -F sig_id "$OURS_DIR/ipip.ko")"
echo 1 >/sys/module/module/parameters/sig_enforce
before=$(links n0)
status_is "unsigned modules: refused" 1 iptnl swap
said "unsigned modules: says which" "^iptnl: $(quote "$OURS_DIR")/ipip.ko: not signed, and module.sig_enforce is on\$"
status_is "unsigned modules: refused by --dry-run, too" 1 iptnl swap --dry-run
check "unsigned modules: nothing is unloaded" whose theirs
expect_eq "unsigned modules: the tunnel is as before" "$before" "$(links n0)"

finish
