#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# OSPF of BIRD over a gre tunnel: the neighbours become full, and a route that
# one learns from the other is used.
#
#	n0                                      n1
#	lan 203.0.113.1/26                      lan 203.0.113.65/26
#	gre1 198.51.100.1 ====== OSPF ======= 198.51.100.2 gre1
#	   v0 192.0.2.1 ------------------- 192.0.2.2 v1

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
new_ns n0 n1
veth_pair n0 v0 192.0.2.1/24 n1 v1 192.0.2.2/24

# router NS NUMBER PEER LAN: its tunnel, what is behind it, its daemon
router()
{
	"$1" ip link add gre1 type gre local "192.0.2.$2" \
		remote "192.0.2.$3" key 5 ttl 64
	"$1" ip addr add "198.51.100.$2/24" dev gre1
	"$1" ip link set gre1 up
	"$1" ip link add lan type dummy
	"$1" ip addr add "$4" dev lan
	"$1" ip link set lan up
	cat >"$TMP/$1.conf" <<-END
		router id 198.51.100.$2;
		log stderr all;
		protocol device {
			scan time 1;
		}
		protocol kernel {
			ipv4 {
				export all;
			};
		}
		protocol ospf v2 o {
			debug { states };
			area 0 {
				interface "gre1" {
					type ptp;
					hello 1;
					dead 10;
				};
				interface "lan" {
					stub;
				};
			};
		}
	END
	bg "$1" bird -f -c "$TMP/$1.conf" -s "$TMP/$1.ctl"
	wait_for test -S "$TMP/$1.ctl"
}

bird_of() { birdc -s "$TMP/$1.ctl" "${@:2}"; }

full() { bird_of "$1" show ospf neighbors | grep -E 'Full/PtP .*gre1'; }

# learnt NS PREFIX PEER: the kernel has the route that OSPF learnt
learnt()
{
	"$1" ip route show "$2" | grep "via $3 dev gre1 proto bird"
}

gone() { ! learnt "$@"; }

capture n0 v0 ospf.pcap proto gre
router n0 1 2 203.0.113.1/26
router n1 2 1 203.0.113.65/26
for in in n0 n1; do
	check "the neighbour of $in is full" wait_for full $in
done
check "n0 has the route" wait_for learnt n0 203.0.113.64/26 198.51.100.2
check "n1 has the route" wait_for learnt n1 203.0.113.0/26 198.51.100.1
capture_stop "$CAP"
expect_eq "hellos on the wire: to 224.0.0.5, from both, in GRE with the key" \
	"192.0.2.1 198.51.100.1 224.0.0.5 0x00000005
192.0.2.2 198.51.100.2 224.0.0.5 0x00000005" "$(
	tshark -n -r "$TMP/ospf.pcap" -Y 'ospf.msg == 1' -T fields \
		-E separator=, -E aggregator=/s -e ip.src -e ip.dst -e gre.key 2>/dev/null |
	awk -F'[ ,]' '{ print $1, $2, $4, $5 }' | sort -u)"

stats_save n1 gre1
check "the route is used" n0 ping -n -c 3 -i 0.2 -W 60 -I 203.0.113.1 203.0.113.65
check "by way of the tunnel" [ "$(stat n1 gre1 rx_packets)" -ge 3 ]
n0 ip link set gre1 mtu 1400
n1 ip link set gre1 mtu 1400
check "TCP by the route" transfer tcp n0 n1 203.0.113.65 16 65536
check "TCP, the other way" transfer tcp n1 n0 203.0.113.1 16 65536

# What OSPF asks of a tunnel: hellos stop and the route goes, come and it is
# there again.
n0 ip link set gre1 down
check "n1 loses the route when the tunnel fails" \
	wait_for -t 300 gone n1 203.0.113.0/26 198.51.100.1
n0 ip link set gre1 up
check "and has it again" \
	wait_for -t 300 learnt n1 203.0.113.0/26 198.51.100.1
check "which is used" ping_ok n1 -I 203.0.113.65 203.0.113.1
finish
