#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# GRE and IP in IP inside ESP in transport mode, negotiated by two strongSwan
# daemons when the first packet wants through.
#
#	n0 charon                        n1 charon
#	   v0 192.0.2.1 ---- ESP ---- 192.0.2.2 v1
#	   gre    198.51.100.1 === 198.51.100.2
#	          2001:db8:1::1 == 2001:db8:1::2
#	   ipip   203.0.113.1 ====== 203.0.113.2

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
new_ns -6 n0 n1
veth_pair n0 v0 192.0.2.1/24 n1 v1 192.0.2.2/24

# ike NS NUMBER PEER ACTION: the daemon of NS; ACTION is what it does with its
# children when it has read them
ike()
{
	local dir=$TMP/$1
	mkdir "$dir"
	cat >"$dir/strongswan.conf" <<-END
		charon {
			load_modular = yes
			install_routes = no
			plugins {
				include /etc/strongswan.d/charon/*.conf
				vici {
					socket = unix://$dir/vici
				}
			}
			filelog {
				stderr {
					default = 1
					flush_line = yes
				}
			}
		}
	END
	cat >"$dir/swanctl.conf" <<-END
		connections {
			peer {
				version = 2
				local_addrs = 192.0.2.$2
				remote_addrs = 192.0.2.$3
				proposals = aes128-sha256-modp2048
				local {
					auth = psk
				}
				remote {
					auth = psk
				}
				children {
					gre {
						local_ts = dynamic[gre]
						remote_ts = dynamic[gre]
						mode = transport
						esp_proposals = aes128-sha256
						start_action = $4
					}
					ipip {
						local_ts = dynamic[4]
						remote_ts = dynamic[4]
						mode = transport
						esp_proposals = aes128-sha256
						start_action = $4
					}
				}
			}
		}
		secrets {
			ike {
				secret = "documentation only"
			}
		}
	END
	daemon "$1" env STRONGSWAN_CONF="$dir/strongswan.conf" \
		/usr/lib/ipsec/charon
	wait_for test -S "$dir/vici"
	check "the daemon of $1 takes its configuration" \
		swanctl_of "$1" --load-all --file "$dir/swanctl.conf"
}

swanctl_of()
{
	in_ns "$1" env STRONGSWAN_CONF="$TMP/$1/strongswan.conf" \
		swanctl "${@:2}" --uri "unix://$TMP/$1/vici"
}

# installed CHILD: n0 has it, in transport mode
installed()
{
	swanctl_of n0 --list-sas | grep "$1: .*INSTALLED, TRANSPORT, ESP"
}

# only_esp FILE: of what was captured, what is neither ESP nor IKE
only_esp()
{
	expect_eq "$1: on the wire is nothing but ESP and IKE" "" \
		"$(capture_text "$2" -t ip and not proto 50 and not udp port 500 \
		and not udp port 4500)"
	check "$1: on the wire is ESP" \
		[ "$(how_many "$2" ip proto 50)" -gt 100 ]
}

# clear NAME DEV PACKET: from n0 to n1 without ESP, it must not come in at DEV
clear()
{
	stats_save n1 "$2"
	inject n0 v0 n1 v1 "$3"
	expect_stats "$1: what comes in clear is dropped" n1 "$2"
}

tunnels()
{
	n0 ip link add g1 type gre local 192.0.2.1 remote 192.0.2.2 key 7
	n1 ip link add g1 type gre local 192.0.2.2 remote 192.0.2.1 key 7
	n0 ip link add i1 type ipip local 192.0.2.1 remote 192.0.2.2
	n1 ip link add i1 type ipip local 192.0.2.2 remote 192.0.2.1
	n0 ip addr add 198.51.100.1/24 dev g1
	n1 ip addr add 198.51.100.2/24 dev g1
	n0 ip addr add 2001:db8:1::1/64 dev g1 nodad
	n1 ip addr add 2001:db8:1::2/64 dev g1 nodad
	n0 ip addr add 203.0.113.1/24 dev i1
	n1 ip addr add 203.0.113.2/24 dev i1
	for dev in g1 i1; do
		n0 ip link set $dev up
		n1 ip link set $dev up
	done
}

G='ip("192.0.2.1", "192.0.2.2", proto=47) / gre(key=7) / '
G+='ip("198.51.100.1", "198.51.100.2") / icmp()'
I='ip("192.0.2.1", "192.0.2.2", proto=4) / '
I+='ip("203.0.113.1", "203.0.113.2") / icmp()'

tunnels
stats_save n1 g1
inject n0 v0 n1 v1 "$G"
expect_stats "without a policy, clear packets come in" n1 g1 \
	rx_packets=1 tx_packets=1

ike n1 2 1 none
ike n0 1 2 trap

capture n0 v0 esp.pcap -s 64
traffic "gre" n0 n1 198.51.100.1 198.51.100.2
traffic "gre, IPv6" n0 n1 2001:db8:1::1 2001:db8:1::2
check "gre: its security association" installed gre
capture_stop "$CAP"
only_esp "gre" esp.pcap
clear "gre" g1 "$G"

capture n0 v0 esp.pcap -s 64
traffic "ipip" n0 n1 203.0.113.1 203.0.113.2
check "ipip: its security association" installed ipip
capture_stop "$CAP"
only_esp "ipip" esp.pcap
clear "ipip" i1 "$I"

check "new keys" swanctl_of n0 --rekey --child gre
traffic "gre with new keys" n0 n1 198.51.100.1 198.51.100.2
finish
