#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Netfilter's flow table on a router whose way out is an ipip tunnel. From 7.2
# on it asks the tunnel for its outer header and goes past the device; before,
# the flow stays on the device. What cannot be asked for stays there everywhere.
#
#	   h               r                       f
#	   | h0 ------- r0 | r1 ----------------- f1 |
#	   198.51.100.1/.2   192.0.2.1     192.0.2.2
#	                     tun ============== tun
#	                                    203.0.113.1

. "$(dirname "$0")/lib.sh"
need_modules ipip
modprobe -a nf_flow_table nf_flow_table_inet nft_flow_offload
new_ns h r f
veth_pair h h0 198.51.100.1/24 r r0 198.51.100.2/24
veth_pair r r1 192.0.2.1/24 f f1 192.0.2.2/24
in_ns r sysctl -qw net.ipv4.ip_forward=1
in_ns f ip addr add 203.0.113.1/32 dev lo
in_ns h ip route add 203.0.113.0/24 via 198.51.100.2

tunnels() { # options of both
	local n own
	for n in r f; do
		own=$([ $n = r ] && echo 1 || echo 2)
		in_ns $n ip link add tun type ipip "$@" local "192.0.2.$own" \
			remote 192.0.2.$((3 - own))
		in_ns $n ip link set tun up
	done
	in_ns r ip route add 203.0.113.0/24 dev tun
	in_ns f ip route add 198.51.100.0/24 dev tun
	in_ns r nft -f - <<-END
	table ip t {
		flowtable ft {
			hook ingress priority 0
			devices = { r0, r1, tun }
		}
		chain forward {
			type filter hook forward priority 0
			ip protocol tcp flow add @ft
		}
	}
	END
}

clear() {
	in_ns r nft delete table ip t
	in_ns r ip link del tun
	in_ns f ip link del tun
}

# The transfer, and whether the router's tunnel device has seen but its beginning.
transfer() { # NAME past|device
	local name=$1 want=$2 sent way=device
	stats_save r tun
	check "$name: it arrives" \
		"$HERE/xfer.py" tcp "$(ns h)" "$(ns f)" 203.0.113.1 64 20000
	sent=$(stats_delta r tun | tr ' ' '\n' | sed -n 's/^tx_bytes=//p')
	[ "${sent:-0}" -gt 1000000 ] || way=past
	expect_eq "$name: by the device or past it" "$want" "$way"
}

past=device
! series_is ">=7.2" || past=past
tunnels
transfer "ipip" "$past"
clear
tunnels ttl 9
transfer "ipip ttl 9" "$past"
clear
finish
