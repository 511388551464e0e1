#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# "iptnl status", and bad usage of all commands.
. "$(dirname "$0")/lib.sh"

# status_has NAME WANT PYTHON: an expression over the status (s) and its modules
# by name (m)
status_has()
{
	expect_eq "$1" "$2" "$("$IPTNL" status --json | python3 -c '
import json, sys
s = json.load(sys.stdin)
m = {one["name"]: one for one in s["modules"]}
print(eval(sys.argv[1]))' "$3")"
}

STATES='" ".join(m[n]["state"].replace(" ", "-") for n in ("tunnel4", "gre", "ip_tunnel_core", "ipip", "ip_gre"))'
remove_modules
status_has "nothing is loaded" "not-loaded not-loaded not-loaded not-loaded not-loaded" "$STATES"
status_is "swap with nothing loaded" 0 iptnl swap
said "swap with nothing loaded: says so" '^nothing to do: none of the in-tree modules is loaded$'
check "swap with nothing loaded: loads nothing" test ! -d /sys/module/ipip

begin_in_tree
new_ns n0
n0 ip link add t0 type ipip local 192.0.2.1 remote 192.0.2.2
n0 ip link add e0 type erspan local 192.0.2.1 remote 192.0.2.2 seq key 1
modprobe sit
status_has "in-tree" "in-tree in-tree not-loaded in-tree in-tree" "$STATES"
status_has "in-tree: no version" "True" 'all(not one["version"] for one in s["modules"])'
status_has "who holds tunnel4" "['ipip', 'sit']" 'm["tunnel4"]["holders"]'
status_has "which file is next" "$OURS_DIR/gre.ko" 'm["gre"]["modprobe"]'
status_has "the tunnels of $(ns n0)" "[('e0', 'erspan', 'ip_gre'), ('t0', 'ipip', 'ipip')]" \
	"sorted((t['name'], t['kind'], t['module']) for t in s['tunnels'] if t['namespace'] == '$(ns n0)' and not t['fallback'])"
status_has "fallback devices are told apart" "['erspan0', 'gre0', 'gretap0', 'tunl0']" \
	"sorted(t['name'] for t in s['tunnels'] if t['namespace'] == '$(ns n0)' and t['fallback'])"
status_is "status in words" 0 iptnl status
said "status in words: tunnel4" '^tunnel4 +in-tree +- +ipip sit +/'
said "status in words: the tunnels" "^ipip: 1 tunnel in $(ns n0): t0\$"
rmmod sit

status_is "swap" 0 iptnl swap
status_has "ours" "iptnl iptnl iptnl iptnl iptnl" "$STATES"
status_has "ours: all of one version" "True" \
	"{one['version'] for one in s['modules']} == {'$(modinfo -F version "$OURS_DIR/ipip.ko")'}"
status_is "restore" 0 iptnl restore
status_has "in-tree again" "in-tree in-tree not-loaded in-tree in-tree" "$STATES"

# ---- bad usage: one line beside the usage, status 2
for args in "" "bogus" "swap --bogus" "swap extra" "status --dry-run" "restore --json" "recover a b"; do
	# shellcheck disable=SC2086
	status_is "bad usage: iptnl $args" 2 iptnl $args
	said "bad usage: iptnl $args: says so" '^iptnl.*: error: '
done
status_is "--help" 0 iptnl --help
said "--help tells of recover" "iptnl recover"
status_is "swap --help" 0 iptnl swap --help
status_is "recover with nothing to recover" 0 iptnl recover
echo nonsense >"$TMP/state"
status_is "recover from a file that is none" 1 iptnl recover "$TMP/state"
said "recover from a file that is none: says so" "^iptnl: $TMP/state: "
echo '{"boot": "another"}' >"$TMP/state"
status_is "recover from an earlier boot" 1 iptnl recover "$TMP/state"
said "recover from an earlier boot: says so" "^iptnl: $TMP/state: of an earlier boot"
status_is "status, not root" 0 setpriv --reuid 65534 --clear-groups "$IPTNL" status

finish
