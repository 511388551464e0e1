#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A tunnel between namespaces: moved away from its underlay, made with its
# underlay elsewhere, and either namespace deleted first, under traffic.
#
#	n2                   (n2 and n3 have no underlay;
#	  t1 198.51.100.1     the tunnels' packets go through n0)
#	   :
#	n0                               n1
#	  v0   192.0.2.1 ------------ v1  192.0.2.2
#	                              t1  198.51.100.2

. "$(dirname "$0")/lib.sh"

need_modules

underlay()
{
	new_ns n0 n1 n2 n3
	veth_pair n0 v0 192.0.2.1/24 n1 v1 192.0.2.2/24
}

no_underlay()
{
	del_ns n2
	del_ns n3
	del_ns n1
	del_ns n0
}

# far_end KIND
far_end()
{
	n1 ip link add t1 type "$1" local 192.0.2.2 remote 192.0.2.1 &&
	n1 ip addr add 198.51.100.2/24 dev t1 &&
	n1 ip link set t1 up
}

# near_end NS: what was made is configured where it is
near_end()
{
	in_ns "$1" ip addr add 198.51.100.1/24 dev t1 &&
	in_ns "$1" ip link set t1 up
}

# moved KIND [NS]: made in n0, moved to n2
moved()
{
	n0 ip link add t1 type "$1" local 192.0.2.1 remote 192.0.2.2 &&
	n0 ip link set t1 netns "$(ns "${2:-n2}")"
}

# counted NS: one ping is one packet each way, on each end
counted()
{
	stats_save "$1" t1
	stats_save n1 t1
	check "$2: a ping" "$1" ping -n -c 1 -W 60 198.51.100.2
	expect_stats "$2: counters at the near end" "$1" t1 \
		rx_packets=1 rx_bytes=84 tx_packets=1 tx_bytes=84
	expect_stats "$2: counters at the far end" n1 t1 \
		rx_packets=1 rx_bytes=84 tx_packets=1 tx_bytes=84
}

test_moved()
{
	local kind=$1
	underlay
	check "$kind: far end" far_end "$kind"
	check "$kind: made in n0, moved to n2" moved "$kind"
	check "$kind: left n0" no_dev n0 t1
	check "$kind: is in n2" near_end n2
	check "$kind: n2 sees where its underlay is" \
		shows n2 t1 'link-netns(id)? '
	counted n2 "$kind moved"
	refuse -n n0 "$kind: n0 still knows these ends" 'exists' \
		n0 ip link add t2 type "$kind" \
		local 192.0.2.1 remote 192.0.2.2
	check "$kind: n2 does not, they are free there" n2 ip link add t2 \
		type "$kind" local 192.0.2.1 remote 192.0.2.2
	check "$kind: and that is another tunnel" n2 ip link set t2 up
	counted n2 "$kind beside that"
	n2 ip link del t2
	check "$kind: changed from n2" n2 ip link set t1 type "$kind" \
		local 192.0.2.1 remote 192.0.2.2 ttl 33
	check "$kind: shows it" shows n2 t1 ' ttl 33 '
	counted n2 "$kind changed"
	check "$kind: changed by ioctl from n2" n2 ip tunnel change t1 \
		mode "$kind" local 192.0.2.1 remote 192.0.2.2 ttl 44
	check "$kind: shows it" shows n2 t1 ' ttl 44 '
	check "$kind: on to n3" n2 ip link set t1 netns "$(ns n3)"
	near_end n3
	counted n3 "$kind moved again"
	check "$kind: back to n0" n3 ip link set t1 netns "$(ns n0)"
	near_end n0
	check "$kind: no other namespace is shown then" \
		lacks_netnsid n0
	counted n0 "$kind at home"
	n0 ip link set t1 netns "$(ns n2)"
	near_end n2
	check "$kind: deleted from n2" n2 ip link del t1
	check "$kind: its ends are free in n0" n0 ip link add t2 \
		type "$kind" local 192.0.2.1 remote 192.0.2.2
	no_underlay
}

lacks_netnsid()
{
	! shows "$1" t1 link-netns >/dev/null
}

# made KIND FROM IN: FROM makes t1 in IN, with n0 as underlay
made()
{
	in_ns "$2" ip link add t1 netns "$(ns "$3")" link-netns "$(ns n0)" \
		type "$1" local 192.0.2.1 remote 192.0.2.2
}

test_link_netns()
{
	local kind=$1 from
	for from in n2 n3; do
		underlay
		far_end "$kind"
		# 6.1 takes the number to be n2's, whoever gives it
		in_ns n2 ip netns set "$(ns n0)" 77
		in_ns n3 ip netns set "$(ns n0)" 77
		check "$kind: $from makes t1 in n2 over n0" \
			made "$kind" $from n2
		check "$kind: is in n2" near_end n2
		check "$kind: n2 sees where its underlay is" \
			shows n2 t1 'link-netns(id)? '
		check "$kind: passes a ping" ping_ok n2 198.51.100.2
		refuse -n n0 "$kind: n0 knows these ends" 'exists' \
			n0 ip link add t2 type "$kind" \
			local 192.0.2.1 remote 192.0.2.2
		no_underlay
	done
}

test_made_elsewhere()
{
	local kind=$1
	underlay
	far_end "$kind"
	check "$kind: n3 makes t1 in n0" n3 ip link add t1 \
		netns "$(ns n0)" type "$kind" local 192.0.2.1 remote 192.0.2.2
	check "$kind: is in n0" near_end n0
	check "$kind: passes a ping" ping_ok n0 198.51.100.2
	no_underlay
}

# traffic KIND NS: pings both ways, and a stream of raw packets from n1
traffic()
{
	bg "$2" ping -q -f 198.51.100.2
	PINGS=$BG
	bg n1 ping -q -f 198.51.100.1
	PINGS+=" $BG"
	bg n1 python3 "$HERE/pkt.py" stream v1 "$(raw_packet "$1")"
	PINGS+=" $BG"
	wait_for busy "$2" t1
}

raw_packet()
{
	case $1 in
	ipip) echo 'ip("192.0.2.2", "192.0.2.1") / ip() / udp()' ;;
	gre) echo 'ip("192.0.2.2", "192.0.2.1") / gre() / ip() / udp()' ;;
	esac
}

busy()
{
	[ "$(stat "$1" "$2" rx_packets)" -ge 50 ]
}

no_traffic()
{
	local pid
	for pid in $PINGS; do
		bg_stop "$pid" KILL
	done
}

test_delete_underlay_first()
{
	local kind=$1
	underlay
	far_end "$kind"
	moved "$kind"
	near_end n2
	traffic "$kind" n2
	check "$kind: the underlay's namespace goes, under traffic" del_ns n0
	check "$kind: the tunnel goes with it" wait_for no_dev n2 t1
	no_traffic
	check "$kind: and is not in the first namespace" \
		[ ! -e /sys/class/net/t1 ]
	check "$kind: n2 is alive" n2 ip link show
	no_underlay
}

test_delete_inner_first()
{
	local kind=$1
	underlay
	far_end "$kind"
	moved "$kind"
	near_end n2
	traffic "$kind" n2
	check "$kind: the tunnel's namespace goes, under traffic" del_ns n2
	check "$kind: its ends become free in n0" wait_for n0 ip link add t1 \
		type "$kind" local 192.0.2.1 remote 192.0.2.2
	no_traffic
	check "$kind: is not in the first namespace" \
		[ ! -e /sys/class/net/t1 ]
	near_end n0
	counted n0 "$kind made anew"
	no_underlay
}

test_delete_with_all()
{
	local kind=$1
	underlay
	far_end "$kind"
	n0 ip link add t1 type "$kind" local 192.0.2.1 remote 192.0.2.2
	near_end n0
	traffic "$kind" n0
	check "$kind: both in one namespace, under traffic" del_ns n0
	no_traffic
	no_underlay
}

# Both ends' namespaces at once: one batch of the kernel's clean-up
test_delete_at_once()
{
	local kind=$1 i
	underlay
	far_end "$kind"
	moved "$kind"
	near_end n2
	for i in $(seq 1 20); do
		n0 ip link add x"$i" type "$kind" local 192.0.2.1 \
			remote 203.0.113."$i"
		n0 ip link set x"$i" netns "$(ns n$((2 + i % 2)))"
	done
	check "$kind: all namespaces at once" ip -b - <<-END
		netns del $(ns n0)
		netns del $(ns n1)
		netns del $(ns n2)
		netns del $(ns n3)
	END
}

# fifty: make and delete as many namespaces with tunnels in them
fifty()
{
	local i
	for i in $(seq 1 50); do
		printf 'netns add %s-x%d\n' "$TAG" "$i"
	done >"$TMP/add"
	ip -b "$TMP/add" || return 1
	for i in $(seq 1 50); do
		ip -n "$TAG-x$i" -b - <<-END || return 1
			link add t1 type ipip local 192.0.2.1 remote 192.0.2.2
			link add t2 type gre local 192.0.2.1 remote 192.0.2.2
			link add t3 type gre local 192.0.2.1 key $i
			link set t1 up
			link set t2 up
			link set gre0 up
		END
	done
	sed 's/add/del/' "$TMP/add" >"$TMP/del"
	ip -b "$TMP/del"
}

many()
{
	local i
	for i in $(seq 1 50); do
		defer ip netns del "$TAG-x$i"
	done
	check "50 namespaces with tunnels made and deleted" fifty
	check "and once more while those go" fifty
	check "all of them are gone: ipip unloads" wait_for rmmod ipip
	check "all of them are gone: ip_gre unloads" wait_for rmmod ip_gre
	modprobe -a ipip ip_gre
}

for kind in ipip gre; do
	test_moved $kind
	test_link_netns $kind
	test_made_elsewhere $kind
	test_delete_underlay_first $kind
	test_delete_inner_first $kind
	test_delete_with_all $kind
	test_delete_at_once $kind
done
many
check_fails "no reference was left: the kernel's log" \
	sh -c 'dmesg | grep "unregister_netdevice: waiting"'
finish
