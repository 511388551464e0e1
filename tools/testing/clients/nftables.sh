#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# nftables counts what is inside tunnels by the addresses and ports there,
# where the packets are still encapsulated, and by the device they came out of.
#
#	n0                                      n1
#	   i1 198.51.100.1 ======== 198.51.100.2 i1	ipip
#	   g1 203.0.113.1 ========== 203.0.113.2 g1	gre
#	   t1 198.51.100.65 ====== 198.51.100.66 t1	gretap
#	   v0 192.0.2.1 ------------- 192.0.2.2 v1

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
new_ns n0 n1
veth_pair n0 v0 192.0.2.1/24 n1 v1 192.0.2.2/24

# tunnel NAME KIND SUBNET NUMBER
tunnel()
{
	n0 ip link add "$1" type "$2" local 192.0.2.1 remote 192.0.2.2
	n1 ip link add "$1" type "$2" local 192.0.2.2 remote 192.0.2.1
	n0 ip link set "$1" up
	n1 ip link set "$1" up
	n0 ip addr add "$3.$4/26" dev "$1"
	n1 ip addr add "$3.$(($4 + 1))/26" dev "$1"
}

# counts NAME N: what a counter says
counts()
{
	expect_eq "$1" "packets $2" \
		"$(n1 nft list counter ip t "${1%%:*}" | grep -o 'packets [0-9]*')"
}

# sent NS ADDRESS N [PING-ARGUMENT]...: echoes that are all answered
sent() { check "$3 echoes to $2" n0 ping -n -c "$3" -i 0.2 -W 60 "$2"; }

tunnel i1 ipip 198.51.100 1
tunnel g1 gre 203.0.113 1
tunnel t1 gretap 198.51.100 65

# Counted in raw octets behind the outer IP header on every kernel: inner
# source and destination. 6.12 and later match the inner header by name.
n1 nft -f - <<-END
	table ip t {
		counter ipip_raw { }
		counter ipip_other { }
		counter gre_raw { }
		counter ipip_out { }
		counter gre_out { }
		counter tap_out { }
		chain outer {
			type filter hook prerouting priority 0
			ip protocol 4 @th,96,64 0xc6336401c6336402 counter name ipip_raw
			ip protocol 4 @th,96,64 0xc6336403c6336402 counter name ipip_other
			ip protocol gre @th,128,64 0xcb007101cb007102 counter name gre_raw
		}
		chain inner {
			type filter hook input priority 0
			iifname i1 ip saddr 198.51.100.1 icmp type echo-request counter name ipip_out
			iifname g1 ip saddr 203.0.113.1 icmp type echo-request counter name gre_out
			iifname t1 ip saddr 198.51.100.65 icmp type echo-request counter name tap_out
		}
	}
END
if [ "$SERIES" != 6.1 ]; then
	n1 nft -f - <<-END
		table ip t {
			counter gre_inner { }
			counter gre_inner_other { }
			counter tap_inner { }
			counter tap_inner_icmp { }
			chain named {
				type filter hook prerouting priority 1
				gre ip saddr 203.0.113.1 counter name gre_inner
				gre ip saddr 203.0.113.9 counter name gre_inner_other
				gretap ip saddr 198.51.100.65 counter name tap_inner
				gretap icmp type echo-request counter name tap_inner_icmp
			}
		}
	END
fi

sent n0 198.51.100.2 3
sent n0 203.0.113.2 4
sent n0 198.51.100.66 5
counts ipip_raw 3
counts ipip_other 0
counts gre_raw 4
counts ipip_out 3
counts gre_out 4
counts tap_out 5
if [ "$SERIES" != 6.1 ]; then
	counts gre_inner 4
	counts gre_inner_other 0
	counts tap_inner 5
	counts tap_inner_icmp 5
fi

# What is matched inside can be kept out.
n1 nft add rule ip t outer ip protocol gre @th,128,32 0xcb007101 drop
check "a rule on the inner source keeps it out" ping_fails n0 203.0.113.2
check "and nothing else" ping_ok n0 198.51.100.2
finish
