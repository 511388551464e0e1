#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tunnels and VRFs: the tunnel in one, its underlay in one, both; and the same
# outer addresses in two VRFs.
#
#	n0                                          n1
#	  vrf red (10) vrf blue (20)
#	  t1 198.51.100.1 =================== t1 198.51.100.2
#	  v0 192.0.2.1 ------------------------- v1 192.0.2.2
#	  w0 192.0.2.1 ------------------------- w1 192.0.2.2     n2
#	  t2 198.51.100.1 =================== t2 198.51.100.2

. "$(dirname "$0")/lib.sh"

need_modules
modprobe vrf

# start: namespaces with the VRFs, before anything is in them
start()
{
	new_ns n0 n1 n2
	veth_pair n0 v0 192.0.2.1/24 n1 v1 192.0.2.2/24
	in_ns n0 ip link add red type vrf table 10
	in_ns n0 ip link add blue type vrf table 20
	n0 ip link set red up
	n0 ip link set blue up
}

stop()
{
	del_ns n0
	del_ns n1
	del_ns n2
}

# enslave DEV VRF: addresses and neighbours are kept
enslave()
{
	n0 ip link set "$1" master "$2"
}

far_end()
{
	n1 ip link add t1 type "$1" local 192.0.2.2 remote 192.0.2.1
	n1 ip addr add 198.51.100.2/24 dev t1
	n1 ip link set t1 up
}

# near_end KIND ARGS...
near_end()
{
	n0 ip link add t1 type "$@" local 192.0.2.1 remote 192.0.2.2
}

near_up()
{
	n0 ip link set t1 up
	n0 ip addr add 198.51.100.1/24 dev t1
}

# both_ways NAME [VRF]: a ping from each end, counted
both_ways()
{
	local name=$1 via=${2:-}
	check "$name: first packet" ping_ok n0 ${via:+-I "$via"} 198.51.100.2
	stats_save n0 t1
	stats_save n1 t1
	check "$name: ping out" n0 ping -n -c 1 -W 60 ${via:+-I "$via"} \
		198.51.100.2
	check "$name: ping in" n1 ping -n -c 1 -W 60 198.51.100.1
	expect_stats "$name: counters in n0" n0 t1 rx_packets=2 rx_bytes=168 \
		tx_packets=2 tx_bytes=168
	expect_stats "$name: counters in n1" n1 t1 rx_packets=2 rx_bytes=168 \
		tx_packets=2 tx_bytes=168
}

test_inner()
{
	local kind=$1
	start
	far_end "$kind"
	near_end "$kind"
	check "$kind: tunnel into a VRF" enslave t1 red
	near_up
	both_ways "$kind, tunnel in red" red
	check "$kind: not from outside of red" ping_fails n0 198.51.100.2
	check "$kind: not from blue" ping_fails n0 198.51.100.2 blue
	check "$kind: out of the VRF" n0 ip link set t1 nomaster
	both_ways "$kind, tunnel in none"
	stop
}

# underlay KIND DEV: v0 is in blue, the tunnel is bound to DEV
test_underlay()
{
	local kind=$1 dev=$2
	start
	far_end "$kind"
	enslave v0 blue
	near_end "$kind" dev "$dev"
	near_up
	both_ways "$kind, underlay in blue, dev $dev"
	stop
}

test_unbound()
{
	local kind=$1
	start
	far_end "$kind"
	enslave v0 blue
	near_end "$kind"
	near_up
	stats_save n0 t1
	check "$kind: underlay in blue, tunnel bound to none: no way out" \
		ping_fails n0 198.51.100.2
	stop
}

test_both()
{
	local kind=$1
	start
	far_end "$kind"
	enslave v0 blue
	near_end "$kind" dev blue
	enslave t1 red
	near_up
	both_ways "$kind, tunnel in red, underlay in blue" red
	check "$kind: not from blue" ping_fails n0 198.51.100.2 blue
	stop
}

# Two tunnels with the same ends, the underlays in different VRFs
test_two()
{
	local kind=$1
	start
	far_end "$kind"
	enslave v0 blue
	near_end "$kind" dev blue
	near_up
	# The second cable, and its far end in a namespace of its own
	n0 ip link add w0 address 02:00:00:00:77:00 type veth \
		peer name w1 address 02:00:00:00:77:01 netns "$(ns n2)"
	n0 ip link set w0 master red
	veth_end n0 w0 192.0.2.1/24 02:00:00:00:77:01 192.0.2.2/24
	veth_end n2 w1 192.0.2.2/24 02:00:00:00:77:00 192.0.2.1/24
	n0 ip link add t2 type "$kind" local 192.0.2.1 remote 192.0.2.2 \
		dev red
	n0 ip link set t2 master red
	n0 ip link set t2 up
	n0 ip addr add 198.51.100.1/24 dev t2
	n2 ip link add t1 type "$kind" local 192.0.2.2 remote 192.0.2.1
	n2 ip addr add 198.51.100.2/24 dev t1
	n2 ip link set t1 up
	stats_save n0 t2
	both_ways "$kind, same ends in red"
	expect_stats "$kind: nothing of it in t2" n0 t2
	stats_save n0 t1
	stats_save n0 t2
	check "$kind: ping in red" ping_ok n0 -I red 198.51.100.2
	expect_stats "$kind: counted there" n0 t2 rx_packets=1 tx_packets=1
	expect_stats "$kind: and not in t1" n0 t1
	check "$kind: t2 goes" n0 ip link del t2
	wrong_vrf "$kind"
	stop
}

# A tunnel's link is preferred, it does not filter: as long as no other tunnel
# has these ends, what comes in by red is taken by the one bound to blue.
wrong_vrf()
{
	local kind=$1 packet
	packet='ip("192.0.2.2", "192.0.2.1") / '
	[ "$kind" = ipip ] || packet+='gre() / '
	packet+='ip("198.51.100.2", "198.51.100.1") / icmp(0)'
	stats_save n0 t1
	inject n2 w1 n0 w0 "$packet"
	expect_stats "$kind: from red, for the tunnel bound to blue" n0 t1 \
		rx_packets=1 rx_bytes=28
}

for kind in ipip gre; do
	test_inner $kind
	test_underlay $kind blue
	test_underlay $kind v0
	test_unbound $kind
	test_both $kind
	test_two $kind
done
finish
