#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# IPVS forwards requests by tunnel to two servers, which answer the client
# directly. The director encapsulates by itself; the servers have a tunnel
# device with the service's address on it.
#
#	client 192.0.2.9 --[        ]
#	                   [ bridge ]-- 192.0.2.1 d, the director
#	                   [ of net ]-- 192.0.2.2 s1, 203.0.113.1 on its tunnel
#	                   [        ]-- 192.0.2.3 s2, likewise

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
modprobe -a ip_vs ip_vs_rr
new_ns net client d s1 s2

VIP=203.0.113.1

# plug NS ADDRESS: connect it to the bridge
plug()
{
	veth_pair net "to-$1" - "$1" e0 "$2/24"
	net ip link set "to-$1" master br0
}

serve()
{
	bg "$1" "$(dirname "$0")/web.py" serve "$1" $VIP 80
	wait_for grep -q listening "$BG_OUT"
}

ask() { client "$(dirname "$0")/web.py" ask $VIP 80 "$@"; }

# server NS COMMAND...: its tunnel, then the service on it. The client must be
# answered from the service's address, so it is on the tunnel only.
server()
{
	in_ns "$1" ip link set "$2" up
	in_ns "$1" ip addr add $VIP/32 dev "$2"
	serve "$1"
	SERVERS="$SERVERS $BG"
	stats_save "$1" "$2"
}

# forward OPTION...: how the director gets packets to each server
forward()
{
	d ipvsadm -A -t $VIP:80 -s rr
	d ipvsadm -a -t $VIP:80 -r 192.0.2.2 -i "$@"
	d ipvsadm -a -t $VIP:80 -r 192.0.2.3 -i "$@"
	SERVERS=""
}

# came NS DEV: packets received since "server"; others: anything else counted
came() { stats_delta "$@" | sed -n 's/^rx_packets=//p'; }

others() { stats_delta "$@" | grep -v '^rx_\(packets\|bytes\)=' || :; }

# round NAME DEV1 DEV2 PROTOCOL OFFSET HEADER: requests that both servers
# answer. HEADER is what the packets from the director to a server have OFFSET
# octets behind the outer IP header.
round()
{
	local name=$1 dev1=$2 dev2=$3 pid to
	capture d e0 ipvs.pcap -s 64 ip
	expect_eq "$name: the servers take turns" "s1=3 s2=3" "$(ask 6 100)"
	expect_eq "$name: large requests" "s1=1 s2=1" "$(ask 2 200000)"
	capture_stop "$CAP"
	for to in 2 3; do
		expect_eq "$name: on the wire to server $((to - 1))" \
			"$4 $6" "$(packets ipvs.pcap | awk \
			-v to="c000020$to" -v at=$((69 + 2 * $5)) -v n="${#6}" \
			'substr($0, 61, 8) == to {
				print substr($0, 47, 2), substr($0, at, n)
			}' | sort -u)"
	done
	expect_eq "$name: no answer goes through the director" 0 \
		"$(how_many ipvs.pcap src "$VIP" and tcp)"
	expect_eq "$name: every packet came out of a tunnel" \
		"$(how_many ipvs.pcap dst 192.0.2.2) $(
		how_many ipvs.pcap dst 192.0.2.3)" \
		"$(came s1 "$dev1") $(came s2 "$dev2")"
	expect_eq "$name: and none went in" "" \
		"$(others s1 "$dev1")$(others s2 "$dev2")"
	for pid in $SERVERS; do
		bg_stop "$pid"
	done
	d ipvsadm -C
	s1 ip addr flush dev "$dev1"
	s2 ip addr flush dev "$dev2"
}

net ip link add br0 type bridge
net ip link set br0 up
plug client 192.0.2.9
plug d 192.0.2.1
plug s1 192.0.2.2
plug s2 192.0.2.3
d sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
d ip addr add $VIP/32 dev lo
client ip route add $VIP via 192.0.2.1

forward
server s1 tunl0
s2 ip link add i1 type ipip local 192.0.2.3
server s2 i1
round "IP in IP" tunl0 i1 04 0 4500

forward --tun-type gre --tun-nocsum
server s1 gre0
s2 ip link add g1 type gre local 192.0.2.3
server s2 g1
round "GRE" gre0 g1 2f 0 000008004500

forward --tun-type gre --tun-csum
s1 ip link add g2 type gre local 192.0.2.2 icsum
server s1 g2
s2 ip link set g1 down
s2 ip link add g2 type gre local 192.0.2.3 icsum remote 192.0.2.1
server s2 g2
round "GRE with a checksum" g2 g2 2f 0 80000800

# Its header: UDP from anywhere, then protocol 4 in GUE of version 0
forward --tun-type gue --tun-port 6080 --tun-nocsum
modprobe fou
s1 ip fou add port 6080 gue
s2 ip fou add port 6080 gue
server s1 tunl0
server s2 i1
round "GUE" tunl0 i1 11 2 17c0
finish
