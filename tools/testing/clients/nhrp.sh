#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# NHRP of FRR over gre devices that have no remote: two spokes register with a
# hub, and find a way to each other that leaves it out.
#
#	        hub 192.0.2.1, 198.51.100.1 on gre1
#	         |
#	     [ bridge of net ]
#	      |             |
#	     s1 192.0.2.2   s2 192.0.2.3
#	        198.51.100.2   198.51.100.3 on gre1
#	        203.0.113.65/26   203.0.113.129/26 behind it

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
modprobe nfnetlink_log
new_ns net hub s1 s2
declare -A PIDS

# node NS NUMBER: connect it to the bridge, and its gre device
node()
{
	veth_pair net "to-$1" - "$1" e0 "192.0.2.$2/24"
	net ip link set "to-$1" master br0
	"$1" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward
		echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects
		echo 0 >/proc/sys/net/ipv4/conf/default/send_redirects'
	"$1" ip link add gre1 type gre key 42 ttl 64 \
		local "192.0.2.$2"
	"$1" ip addr add "198.51.100.$2/32" dev gre1
	"$1" ip link set gre1 up
}

# spoke NS PREFIX ADDRESS: what is behind it, and that all else is at the hub
spoke()
{
	"$1" ip link add lan type dummy
	"$1" ip link set lan up
	"$1" ip addr add "$2" dev lan
	"$1" ip route add 198.51.100.0/24 via 198.51.100.1 dev gre1 onlink
	"$1" ip route add 203.0.113.0/24 via 198.51.100.1 dev gre1 onlink
}

# frr NS: zebra and nhrpd, the configuration of nhrpd being on standard input.
# They share a /run of their own.
frr()
{
	: >"$TMP/$1.zebra"
	cat >"$TMP/$1.nhrpd"
	chmod 711 "$TMP"
	chmod 644 "$TMP/$1".*
	# shellcheck disable=SC2016
	daemon "$1" sh -ec '
		install -d -o frr -g frr /run/frr
		/usr/lib/frr/zebra -f "$1.zebra" &
		until [ -S /run/frr/zserv.api ]; do sleep 0.1; done
		exec /usr/lib/frr/nhrpd -f "$1.nhrpd"' sh "$TMP/$1"
	PIDS[$1]=$BG
}

vty() { nsenter -t "${PIDS[$1]}" --mount --net vtysh -c "$2"; }

vty_shows() { vty "$1" "$2" | grep -E "$3"; }

net ip link add br0 type bridge
net ip link set br0 up
node hub 1
node s1 2
node s2 3
spoke s1 203.0.113.65/26
spoke s2 203.0.113.129/26
hub ip route add 203.0.113.64/26 via 198.51.100.2 dev gre1 onlink
hub ip route add 203.0.113.128/26 via 198.51.100.3 dev gre1 onlink
hub nft -f - <<-END
	table ip t {
		chain forward {
			type filter hook forward priority 0
			iifname gre1 oifname gre1 log group 1 snaplen 128
		}
	}
END
frr hub <<-END
	log stdout
	debug nhrp common
	nhrp nflog-group 1
	interface gre1
	 ip nhrp network-id 1
	 ip nhrp holdtime 60
	 ip nhrp redirect
END
for in in s1 s2; do
	frr $in <<-END
		log stdout
		debug nhrp common
		interface gre1
		 ip nhrp network-id 1
		 ip nhrp holdtime 60
		 ip nhrp nhs dynamic nbma 192.0.2.1
		 ip nhrp registration no-unique
		 ip nhrp shortcut
	END
done
for in in s1 s2; do
	check "$in registers" wait_for vty_shows hub "show ip nhrp cache" \
		"198.51.100.${in#s}"
done
check "s1 reaches the hub" ping_ok s1 -I 203.0.113.65 198.51.100.1
expect_match "the hub has s1's address from NHRP" \
	'^198.51.100.2 lladdr 192.0.2.2 .*proto nhrp' \
	"$(hub ip neigh show dev gre1)"

# direct NS ADDRESS: it has a route there that NHRP made
direct()
{
	"$1" ip route show to match "$2" proto nhrp | grep 'dev gre1'
}

capture hub e0 hub.pcap proto gre
check "s1 reaches what is behind s2" \
	ping_ok s1 -I 203.0.113.65 203.0.113.129
capture_wait hub.pcap 4
capture_stop "$CAP"
expect_match "the first packets pass the hub" \
	'192.0.2.2 > 192.0.2.1.*203.0.113.65 > 203.0.113.129: ICMP' \
	"$(capture_text hub.pcap)"
echoing() { s1 ping -n -c 1 -W 1 -I 203.0.113.65 203.0.113.129; }
# The hub tells, as long as it has something to forward.
found() { echoing && direct s1 203.0.113.129; }
check "s1 finds a shortcut" wait_for -t 300 found
back() { echoing && direct s2 203.0.113.65; }
check "s2 finds a shortcut" wait_for -t 300 back
capture hub e0 hub.pcap proto gre
HUB=$CAP
capture s1 e0 spoke.pcap -s 64 proto gre
check "ten echoes" s1 ping -n -c 10 -i 0.2 -W 60 -I 203.0.113.65 203.0.113.129
s1 ip link set gre1 mtu 1400
s2 ip link set gre1 mtu 1400
check "TCP from s1 to s2" transfer tcp s1 s2 203.0.113.129 16 65536
check "TCP from s2 to s1" transfer tcp s2 s1 203.0.113.65 16 65536
capture_stop "$CAP"
capture_stop "$HUB"
expect_eq "nothing of it passed the hub" "" \
	"$(capture_text hub.pcap | grep '203\.0\.113\.' || :)"
expect_eq "all of it went straight, with the key" "192.0.2.2 192.0.2.3 0000002a
192.0.2.3 192.0.2.2 0000002a" "$(packets spoke.pcap | awk '
	substr($0, 73, 4) == "0800" { print "192.0.2." substr($0, 60, 1),
		"192.0.2." substr($0, 68, 1), substr($0, 77, 8) }' | sort -u)"
finish
