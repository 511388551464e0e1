#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The five modules come and go: by modprobe and insmod, in every order that
# their dependencies allow, with tunnels in several namespaces, under traffic,
# and when a tunnel is asked for.
#
#	n0                               n1
#	  ipip 198.51.100.1 ====== ipip 198.51.100.2
#	  gre  203.0.113.1  ======  gre 203.0.113.2
#	  v0   192.0.2.1 ------------ v1  192.0.2.2

. "$(dirname "$0")/lib.sh"

defer modprobe -a ipip ip_gre
read -ra MODULES_LIST <<<"$MODULES"

all_loaded()
{
	local m
	for m in $MODULES; do
		is_loaded "$m" || { echo "$m is not loaded"; return 1; }
	done
}

none_loaded()
{
	local m
	for m in $MODULES; do
		! is_loaded "$m" || { echo "$m is loaded"; return 1; }
	done
}

test_modprobe()
{
	local m want=/updates/
	[ "$IPTNL_IN_TREE" != 1 ] || want=/kernel/net/ipv4/
	remove_modules
	check "nothing is loaded to begin with" none_loaded
	check "modprobe ipip" modprobe ipip
	check "modprobe ip_gre" modprobe ip_gre
	check "all five are loaded" all_loaded
	for m in $MODULES; do
		check "$m is the one to be tested" right_module "$m"
		expect_match "$m: file lies in $want" "$want" \
			"$(modinfo -n "$m")"
	done
	check "the licence lets GPL-only symbols be used: GPL" \
		expect_licence
}

expect_licence()
{
	local m
	for m in $MODULES; do
		[ "$(modinfo -F license "$m")" = GPL ] || return 1
	done
}

has_alias()
{
	modinfo -F alias "$1" | grep -Fx "$2" >/dev/null
}

test_aliases()
{
	check "alias rtnl-link-ipip" has_alias ipip rtnl-link-ipip
	check "alias netdev-tunl0" has_alias ipip netdev-tunl0
	check "alias rtnl-link-gre" has_alias ip_gre rtnl-link-gre
	check "alias netdev-gre0" has_alias ip_gre netdev-gre0
}

test_parameter()
{
	local m file
	for m in ipip ip_gre; do
		file=/sys/module/$m/parameters/log_ecn_error
		expect_eq "$m log_ecn_error is on by default" Y "$(cat $file)"
		expect_eq "$m log_ecn_error has mode 644" 644 \
			"$(command stat -c %a $file)"
		echo 0 >$file
		expect_eq "$m log_ecn_error can be written" N "$(cat $file)"
		rmmod "$m"
		modprobe $m
		expect_eq "$m log_ecn_error is on again" Y "$(cat $file)"
		rmmod "$m"
		modprobe $m log_ecn_error=N
		expect_eq "$m log_ecn_error can be given" N "$(cat $file)"
		rmmod "$m"
		modprobe $m
	done
	refuse "a parameter that is none is not fatal but said" \
		'unknown parameter|No such parameter' unknown_parameter
}

# The kernel ignores it and says so in its log.
unknown_parameter()
{
	rmmod ipip
	modprobe ipip nonsense=1 || return 1
	dmesg | tail -n 5
	return 1
}

# orders CHOSEN LEFT...: each order to unload in, those that use another first
orders()
{
	local chosen=$1 m
	shift
	if [ $# -eq 0 ]; then
		echo "$chosen"
		return
	fi
	for m; do
		case $m in
		tunnel4) [[ $chosen = *ipip* ]] || continue ;;
		gre) [[ $chosen = *ip_gre* ]] || continue ;;
		"$CORE") [[ $chosen = *ipip* && $chosen = *ip_gre* ]] ||
			continue ;;
		esac
		# shellcheck disable=SC2046
		orders "$chosen $m" $(printf '%s\n' "$@" | sed "/^$m\$/d")
	done
}

test_orders()
{
	local order m file
	declare -A file
	for m in $MODULES; do
		file[$m]=$(modinfo -n "$m")
	done
	# What the in-tree ip_tunnel needs besides.
	modprobe -q udp_tunnel || :
	while read -r order; do
		# shellcheck disable=SC2086
		check "unload: $order" unload_in_order $order
		# shellcheck disable=SC2046
		check "insmod in the reverse order" load_in_order \
			$(tr ' ' '\n' <<<"$order" | tac)
	done < <(orders "" "${MODULES_LIST[@]}")
}

unload_in_order()
{
	local m
	for m; do
		rmmod "$m" || return 1
	done
	none_loaded
}

load_in_order()
{
	local m
	for m; do
		insmod "${file[$m]}" || return 1
	done
	all_loaded
}

# The kernel's own answer: rmmod would look at the reference count first.
delete_module()
{
	python3 -c '
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(176, sys.argv[1].encode(), os.O_NONBLOCK):
    sys.exit(os.strerror(ctypes.get_errno()))' "$1"
}

test_in_use()
{
	local m
	for m in tunnel4 gre $CORE; do
		refuse "$m cannot go while another uses it" \
			'Resource temporarily unavailable' delete_module "$m"
		refuse "rmmod $m says who uses it" \
			'in use by: .*ip' rmmod "$m"
	done
	check "all five are still loaded" all_loaded
	rmmod ipip
	refuse "$CORE stays for ip_gre" 'in use by: ip_gre' rmmod $CORE
	check "tunnel4 goes after ipip" rmmod tunnel4
	modprobe ipip
}

test_fallback()
{
	check "tunl0 is there in the first namespace" test -e /sys/class/net/tunl0
	check "gre0 is there in the first namespace" test -e /sys/class/net/gre0
	check "tunl0 is there in another namespace" has_dev n0 tunl0
	check "gre0 is there in another namespace" has_dev n0 gre0
	rmmod ipip
	check_fails "tunl0 left the first namespace" test -e /sys/class/net/tunl0
	check "tunl0 left the other namespace" no_dev n0 tunl0
	check "gre0 stays" has_dev n0 gre0
	rmmod ip_gre
	check_fails "gre0 left the first namespace" test -e /sys/class/net/gre0
	check "gre0 left the other namespace" no_dev n0 gre0
	modprobe -a ipip ip_gre
	check "tunl0 is back in the other namespace" has_dev n1 tunl0
	check "gre0 is back in the other namespace" has_dev n1 gre0
}

make_tunnels()
{
	n0 ip link add ipip1 type ipip local 192.0.2.1 remote 192.0.2.2
	n1 ip link add ipip1 type ipip local 192.0.2.2 remote 192.0.2.1
	n0 ip addr add 198.51.100.1/24 dev ipip1
	n1 ip addr add 198.51.100.2/24 dev ipip1
	n0 ip link add gre1 type gre local 192.0.2.1 remote 192.0.2.2 key 5
	n1 ip link add gre1 type gre local 192.0.2.2 remote 192.0.2.1 key 5
	n0 ip addr add 203.0.113.1/24 dev gre1
	n1 ip addr add 203.0.113.2/24 dev gre1
	local dev
	for dev in ipip1 gre1; do
		n0 ip link set $dev up
		n1 ip link set $dev up
	done
}

tunnels_ping()
{
	ping_ok n0 198.51.100.2 && ping_ok n0 203.0.113.2
}

test_with_tunnels()
{
	make_tunnels
	ip link add "$TAG" type ipip local 192.0.2.77 remote 192.0.2.78
	check "tunnels pass a ping" tunnels_ping
	check "ipip unloads with tunnels there" rmmod ipip
	check "its tunnels are gone in n0" no_dev n0 ipip1
	check "its tunnels are gone in n1" no_dev n1 ipip1
	check_fails "and in the first namespace" test -e "/sys/class/net/$TAG"
	check "gre tunnels still pass a ping" ping_ok n0 203.0.113.2
	check "ip_gre unloads with tunnels there" rmmod ip_gre
	check "its tunnels are gone in n0" no_dev n0 gre1
	check "its tunnels are gone in n1" no_dev n1 gre1
	remove_modules
	check "everything unloads" none_loaded
	modprobe -a ipip ip_gre
	make_tunnels
	check "tunnels made anew pass a ping" tunnels_ping
}

# What arrives at n1 from an endless sender in n0, whichever module is there
FLOOD='ip("192.0.2.1", "192.0.2.2") / ip() / udp()'
FLOOD_GRE='ip("192.0.2.1", "192.0.2.2") / gre(key=5) / ip() / udp()'

flood()
{
	local round
	for ((round = 0; round < 200; round++)); do
		[ ! -e "$TMP/flood.end" ] || return 0
		python3 "$HERE/pkt.py" send "$(ns n0)" v0 "$(ns n1)" v1 \
			"$FLOOD * 300" "$FLOOD_GRE * 300" || return 1
	done
}

reload_under_flood()
{
	local round
	for round in 1 2 3 4 5; do
		bg n0 ping -f -q 198.51.100.2
		local ping_ipip=$BG
		bg n0 ping -f -q 203.0.113.2
		local ping_gre=$BG
		rmmod ipip && rmmod ip_gre || return 1
		[ $((round % 2)) = 0 ] || remove_modules || return 1
		modprobe -a ip_gre ipip || return 1
		bg_stop "$ping_ipip" INT
		bg_stop "$ping_gre" INT
		make_tunnels || return 1
	done
}

test_under_traffic()
{
	rm -f "$TMP/flood.end"
	flood &
	local flooder=$! rc=0
	check "five reloads under ping -f and a flood" reload_under_flood
	touch "$TMP/flood.end"
	wait $flooder || rc=$?
	expect_eq "the flood went through to its end" 0 $rc
	check "tunnels pass a ping afterwards" tunnels_ping
	n0 ip link del ipip1
	n0 ip link del gre1
	n1 ip link del ipip1
	n1 ip link del gre1
}

test_autoload()
{
	remove_modules
	check "ip link add type ipip in a namespace" \
		n0 ip link add a1 type ipip local 192.0.2.1 remote 192.0.2.3
	check "loads the right ipip" right_module ipip
	check "ip link add type gre" \
		n0 ip link add a2 type gre local 192.0.2.1 remote 192.0.2.3
	check "loads the right ip_gre" right_module ip_gre
	remove_modules
	check "ip tunnel add mode ipip" n0 ip tunnel add a1 mode ipip \
		local 192.0.2.1 remote 192.0.2.3
	check "loads the right ipip" right_module ipip
	check "ip tunnel add mode gre" n0 ip tunnel add a2 mode gre \
		local 192.0.2.1 remote 192.0.2.3
	check "loads the right ip_gre" right_module ip_gre
	check "and the right tunnel4" right_module tunnel4
	check "and the right gre" right_module gre
	check "and the right $CORE" right_module $CORE
	check "both are there" has_dev n0 a1
	check "both are there" has_dev n0 a2
}

test_modprobe
test_aliases
test_parameter
test_in_use
test_orders
new_ns n0 n1
veth_pair n0 v0 192.0.2.1/24 n1 v1 192.0.2.2/24
test_fallback
test_with_tunnels
test_under_traffic
test_autoload
finish
