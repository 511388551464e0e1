#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# tc mirrors what a port of n0 sends and receives into an erspan device; the
# erspan device of n1 gives out the same frames.
#
#	host 198.51.100.9 e0 --- p0 198.51.100.1 n0
#	                            |  mirred
#	                          erspan1 === ERSPAN === erspan1 n1
#	             v0 192.0.2.1 ------------------- 192.0.2.2 v1

. "$(dirname "$0")/lib.sh"
need_modules ip_gre
modprobe -a act_mirred cls_matchall sch_ingress
new_ns host n0 n1
veth_pair n0 v0 192.0.2.1/24 n1 v1 192.0.2.2/24
veth_pair host e0 198.51.100.9/24 n0 p0 198.51.100.1/24

# mirror ARG...: the erspan devices and the mirror
mirror()
{
	n0 ip link add erspan1 type erspan local 192.0.2.1 remote 192.0.2.2 \
		"$@"
	n1 ip link add erspan1 type erspan local 192.0.2.2 remote 192.0.2.1 \
		"$@"
	n0 ip link set erspan1 up
	n1 ip link set erspan1 up
	n0 tc qdisc add dev p0 clsact
	n0 tc filter add dev p0 ingress matchall \
		action mirred egress mirror dev erspan1
	n0 tc filter add dev p0 egress matchall \
		action mirred egress mirror dev erspan1
}

no_mirror()
{
	n0 tc qdisc del dev p0 clsact
	n0 ip link del erspan1
	n1 ip link del erspan1
}

# frames NAME FILE FILE: the second capture has what the first one has, in the
# same order
frames()
{
	local -i n
	n=$(packets "$2" | wc -l)
	check "$1: there were frames" [ "$n" -ge 12 ]
	check "$1: as many come out" capture_wait "$3" "$n"
	if [ "$(packets "$2")" = "$(packets "$3")" ]; then
		ok "$1: the same frames, in their order"
	else
		not_ok "$1: the same frames, in their order" \
			"$(packets "$2" | cut -c1-100)" \
			"$(packets "$3" | cut -c1-100)"
	fi
}

# some_traffic: echoes of several sizes, and frames that are not IP
some_traffic()
{
	host ping -n -c 2 -i 0.2 -W 60 198.51.100.1
	host ping -n -c 2 -i 0.2 -W 60 -s 1 198.51.100.1
	host ping -n -c 2 -i 0.2 -W 60 -s 1400 198.51.100.1
	inject host e0 n0 p0 'eth(type=0x88b7) / raw(60)' \
		'eth() / vlan(7) / ip() / icmp()' \
		'eth(type=0x0806) / raw(28)'
}

# round NAME HEADER ARG...: HEADER is a pattern for what each packet on the
# wire begins with behind the outer IP header
round()
{
	local name=$1 header=$2
	shift 2
	mirror "$@"
	stats_save n1 erspan1
	capture n0 p0 there.pcap
	local there=$CAP
	capture n1 v1 wire.pcap proto gre
	local wire=$CAP
	capture n1 erspan1 here.pcap
	check "$name: traffic on the port that is mirrored" some_traffic
	frames "$name" there.pcap here.pcap
	capture_stop "$CAP"
	capture_stop "$wire"
	capture_stop "$there"
	differs "class of service from what is no IP header" \
		expect_eq "$name: the headers on the wire" "" "$(packets \
		wire.pcap | cut -c69- | { grep -Ev "^$header" || :; } | cut -c1-60)"
	expect_stats "$name: no errors" n1 erspan1 \
		rx_packets="$(packets there.pcap | wc -l)"
	no_mirror
}

# ERSPAN I has a bare GRE header. II and III have a sequence number, then the
# version and VLAN; class 0, flags and session; for II the index; for III a
# time stamp, security group 0, hardware id and direction. Flags: in II that
# the frame has a VLAN tag, in III that it is short.
round "type I" 000088be erspan_ver 0
round "type II" "100088be.{8}1(0000064|0071864)000abcde" \
	seq key 100 erspan_ver 1 erspan 0xabcde
round "type III" "100022eb.{8}2(000|007)0[08]65.{8}00008058" \
	seq key 101 erspan_ver 2 erspan_dir egress erspan_hwid 5
finish
