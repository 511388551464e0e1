#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Open vSwitch with tunnel ports, against plain devices of another host.
#
#	sa, sb                 n0                  n1             pa, pb
#	198.51.100.1 -- a1, b1 [br0] v0 ------ v1 devices with -- 198.51.100.2
#	                    192.0.2.1      192.0.2.2   a key
#
# sa and sb are behind the switch; pa and pb have a device each, whose
# underlay is in n1. Both pairs have the same addresses, so that the key alone
# tells them apart.

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
new_ns n0 n1 sa sb pa pb
veth_pair n0 v0 192.0.2.1/24 n1 v1 192.0.2.2/24

export OVS_RUNDIR=$TMP/ovs OVS_LOGDIR=$TMP/ovs OVS_DBDIR=$TMP/ovs
DB=unix:$OVS_RUNDIR/db.sock
CTL=$OVS_RUNDIR/vswitchd.ctl

vsctl() { n0 ovs-vsctl --db="$DB" --timeout=$((30 * SLOW)) "$@"; }
ofctl() { n0 ovs-ofctl -O OpenFlow13 "$@"; }
appctl() { n0 ovs-appctl -t "$CTL" "$@"; }

up_for()
{
	local uptime
	read -r uptime _ </proc/uptime
	[ "${uptime%.*}" -ge "$1" ]
}

start_ovs()
{
	# In the first 10 s after a boot, version 3.1 counts no processor and
	# starts no thread for packets that have no flow yet.
	wait_for up_for 11
	mkdir "$OVS_RUNDIR"
	ovsdb-tool create "$OVS_RUNDIR/conf.db" \
		/usr/share/openvswitch/vswitch.ovsschema
	bg n0 ovsdb-server "$OVS_RUNDIR/conf.db" --remote="p$DB" \
		--unixctl="$OVS_RUNDIR/db.ctl"
	wait_for test -S "$OVS_RUNDIR/db.sock"
	n0 ovs-vsctl --db="$DB" --no-wait init
	bg n0 ovs-vswitchd "$DB" --unixctl="$CTL"
	wait_for test -S "$CTL"
	defer appctl exit --cleanup
	vsctl add-br br0 -- set bridge br0 datapath_type=system \
		fail_mode=secure
}

# host NS ADDRESS: one end of the overlay
host()
{
	veth_pair "$1" e0 198.51.100.1/24 n0 "${1#s}1" -
	"$1" ip link set e0 mtu 1400
}

# port NAME NUMBER TYPE [OPTION=VALUE]...: a tunnel port of the switch
port()
{
	local -a options=("${@:4}")
	vsctl add-port br0 "$1" -- set interface "$1" ofport_request="$2" \
		type="$3" "${options[@]/#/options:}"
}

# peer NS TYPE [ARG]...: the far end, its underlay in n1
peer()
{
	n1 ip link add tun mtu 1400 type "${@:2}" local 192.0.2.2 \
		remote 192.0.2.1
	n1 ip link set tun netns "$(ns "$1")"
	"$1" ip link set tun up
	"$1" ip addr add 198.51.100.2/24 dev tun
}

# forward PORT TUNNEL KEY: the flows between a port and one key of a tunnel
forward()
{
	ofctl add-flow br0 "in_port=$1,actions=set_field:$3->tun_id,output:$2"
	ofctl add-flow br0 "in_port=$2,tun_id=$3,actions=output:$1"
}

# on_wire FILE: how each kind of packet in a capture of v0 begins: its outer
# source, DF, TTL and the GRE header of $1 octets
on_wire()
{
	packets "$1" | awk -v n="$2" '{
		print "src", substr($0, 60, 1), "frag", substr($0, 41, 4),
		"ttl", substr($0, 45, 2), "gre", substr($0, 69, 2 * n) }' |
		sort -u
}

# wire_is NAME OCTETS HEADER [TTL [TTL]]: what was captured in both directions
wire_is()
{
	capture_stop "$CAP"
	expect_eq "$1: on the wire" "src 1 frag 4000 ttl ${4:-40} gre $3
src 2 frag 4000 ttl ${5:-40} gre $3" "$(on_wire gre.pcap "$2")"
}

# ends: everything between two tests goes
ends()
{
	local in
	vsctl del-port br0 t1
	ofctl del-flows br0
	for in in pa pb; do
		! has_dev $in tun || "$in" ip link del tun
	done
	for in in sa sb; do
		"$in" ip neigh flush dev e0 nud all
	done
}

test_fixed()
{
	port t1 11 gre remote_ip=192.0.2.2 key=4660
	check "fixed key: the device of the datapath" \
		wait_for shows n0 gre_sys 'gretap external'
	forward 1 11 4660
	peer pa gretap key 4660 ttl 64
	capture n0 v0 gre.pcap -s 64 proto gre
	traffic "fixed key" sa pa 198.51.100.1 198.51.100.2
	wire_is "fixed key" 8 2000655800001234
	ends
	check "fixed key: the device goes with the last port" \
		wait_for no_dev n0 gre_sys
}

test_flow()
{
	port t1 11 gre remote_ip=192.0.2.2 key=flow ttl=33
	forward 1 11 1
	forward 2 11 2
	peer pa gretap key 1 ttl 64
	peer pb gretap key 2 ttl 64
	stats_save pb tun
	capture n0 v0 gre.pcap -s 64 proto gre
	traffic "key of the flow" sa pa 198.51.100.1 198.51.100.2
	wire_is "key of the flow" 8 2000655800000001 21
	expect_stats "the other key saw nothing of it" pb tun
	capture n0 v0 gre.pcap -s 64 proto gre
	traffic "another key" sb pb 198.51.100.1 198.51.100.2
	wire_is "another key" 8 2000655800000002 21
	ends
}

test_plain()
{
	port t1 11 gre remote_ip=192.0.2.2
	forward 1 11 0
	peer pa gretap ttl 64
	capture n0 v0 gre.pcap -s 64 proto gre
	traffic "without a key" sa pa 198.51.100.1 198.51.100.2
	wire_is "without a key" 4 00006558
	ends
}

test_csum()
{
	local name="checksum"
	port t1 11 gre remote_ip=192.0.2.2 key=5 csum=true
	forward 1 11 5
	peer pa gretap key 5 csum ttl 64
	capture n0 v0 gre.pcap -s 64 proto gre
	if [ "$IPTNL_IN_TREE" = 1 ]; then
		differs "external gretap drops what has a checksum" \
			check "$name: echo" ping_ok sa 198.51.100.2
	else
		traffic "$name" sa pa 198.51.100.1 198.51.100.2
	fi
	wire_is "$name" 4 a0006558
	ends
}

# erspan NAME ERSPAN-HEADER OPTIONS DEVICE-ARGUMENTS: without the sequence
# number, what is on the wire is the same for each packet
erspan()
{
	# shellcheck disable=SC2086
	port t1 11 erspan remote_ip=192.0.2.2 key=7 $3
	check "$1: the device of the datapath" \
		wait_for shows n0 erspan_sys 'erspan external'
	forward 1 11 7
	# shellcheck disable=SC2086
	peer pa erspan seq key 7 $4 ttl 64
	capture n0 v0 gre.pcap -s 64 proto gre
	traffic "$1" sa pa 198.51.100.1 198.51.100.2
	capture_stop "$CAP"
	expect_eq "$1: on the wire" "src 1 gre 100088be erspan $2
src 2 gre 100088be erspan $2" "$(packets gre.pcap | awk '{
		print "src", substr($0, 60, 1), "gre", substr($0, 69, 8),
		"erspan", substr($0, 85, 16) }' | sort -u)"
	ends
}

test_erspan()
{
	# The openvswitch module of 6.12 warns of itself when a flow has
	# options of ERSPAN.
	[ "$SERIES" != 6.12 ] || return 0
	erspan "erspan version 1" 1000000700000123 \
		"erspan_ver=1 erspan_idx=0x123" "erspan_ver 1 erspan 0x123"
}

# It is not told of devices that others made, and says so.
dpctl() { n1 ovs-dpctl "$@" 2>/dev/null; }

# A datapath in n1 without a daemon, with one flow each way
test_vport()
{
	local type tunnel name
	tunnel='tunnel(tun_id=9,dst=192.0.2.1,ttl=65,flags(df|key))'
	dpctl add-dp dp1
	defer n1 ovs-dpctl del-dp dp1
	veth_pair pb e1 198.51.100.2/24 n1 b1 -
	pb ip link set e1 mtu 1400
	dpctl add-if dp1 b1
	if series_is '<7.3'; then
		name=vport-gre
		check "$name: the datapath makes one" \
			"$(dirname "$0")/vport.py" "$(ns n1)" dp1 gre1
		check "$name: it is loaded" is_loaded vport_gre
		check "$name: built on ip_gre" test -e \
			/sys/module/ip_gre/holders/vport_gre
	else
		# vport-gre is gone: a device is made first and added then
		name="external gretap"
		refuse "$name: there is no vport-gre" EAFNOSUPPORT \
			"$(dirname "$0")/vport.py" "$(ns n1)" dp1 gre1
		n1 ip link add gre1 type gretap external
		n1 ip link set gre1 mtu 1450 up
		check "$name: the datapath takes it" dpctl add-if dp1 gre1
	fi
	check "$name: its device" shows n1 gre1 'gretap external'
	n0 ip link add tun mtu 1400 type gretap key 9 ttl 64 \
		local 192.0.2.1 remote 192.0.2.2
	n0 ip link set tun netns "$(ns pa)"
	pa ip link set tun up
	pa ip addr add 198.51.100.1/24 dev tun
	for type in '0x0800),ipv4(' '0x0806),arp('; do
		dpctl add-flow dp1 "in_port(1),eth(),eth_type($type)" \
			"set($tunnel),2"
		dpctl add-flow dp1 "in_port(2),eth(),eth_type($type)" 1
	done
	capture n1 v1 gre.pcap -s 64 proto gre
	traffic "$name" pa pb 198.51.100.1 198.51.100.2
	wire_is "$name" 8 2000655800000009 40 41
}

start_ovs
host sa
host sb
vsctl add-port br0 a1 -- set interface a1 ofport_request=1 \
	-- add-port br0 b1 -- set interface b1 ofport_request=2
test_fixed
test_flow
test_plain
test_csum
test_erspan
test_vport
finish
