#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# systemd-networkd makes tunnels of every kind from .netdev files, and gives
# them their addresses; the far end is made by "ip".
#
#	n0 systemd-networkd             n1
#	   e0 192.0.2.1 ----------- 192.0.2.2 v1
#	   one tunnel of each kind: 198.51.100.1 === 198.51.100.2 and so on

. "$(dirname "$0")/lib.sh"
need_modules ipip ip_gre
modprobe fou
new_ns n0 n1
veth_pair n0 e0 192.0.2.1/24 n1 v1 192.0.2.2/24
# The kernel takes no second ipip tunnel with the same ends.
n0 ip addr add 192.0.2.5/24 dev e0
n1 ip addr add 192.0.2.6/24 dev v1

CONFIG=$TMP/network
mkdir "$CONFIG"
chmod 711 "$TMP"
declare -i COUNT=0
NAMES=()

# tunnel NAME KIND LOCAL REMOTE FAR-END <<< LINES-OF-[Tunnel]
# What networkd is to make between 192.0.2.LOCAL and 192.0.2.REMOTE, and its
# peer, FAR-END being arguments of "ip".
tunnel()
{
	local subnet=198.51.100.$((COUNT * 4)) other
	COUNT+=1
	NAMES+=("$1")
	{
		printf '[NetDev]\nName=%s\nKind=%s\n\n[Tunnel]\n' "$1" "$2"
		printf 'Independent=yes\nLocal=192.0.2.%s\n' "$3"
		printf 'Remote=192.0.2.%s\n' "$4"
		cat
	} >"$CONFIG/$1.netdev"
	cat >"$CONFIG/$1.network" <<-END
		[Match]
		Name=$1
		[Network]
		Address=${subnet%.*}.$((${subnet##*.} + 1))/30
		LinkLocalAddressing=no
		IPv6AcceptRA=no
	END
	other=${subnet%.*}.$((${subnet##*.} + 2))
	# shellcheck disable=SC2086
	n1 ip link add "$1" type $5 local "192.0.2.$4" remote "192.0.2.$3"
	n1 ip link set "$1" up
	n1 ip addr add "$other/30" dev "$1"
	eval "PEER_$1=$other"
}

# networkd takes a network whose /sys is read-only for a container, in which
# no udev names devices and it need not wait for one.
start_networkd()
{
	# shellcheck disable=SC2016
	daemon n0 sh -ec '
		install -d -o systemd-network -g systemd-network \
			/run/systemd /run/systemd/netif
		mkdir -p /run/systemd/network
		cp "$1"/* /run/systemd/network
		mount -o remount,bind,ro /sys
		export SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console
		exec /usr/lib/systemd/systemd-networkd' sh "$CONFIG"
	LOG=$BG_OUT
}

# made NAME REGEX: it is there, with these attributes
made()
{
	check "$1: networkd makes it" wait_for shows n0 "$1" "$2"
}

tunnel ipip1 ipip 1 2 "ipip ttl 61" <<-END
	TTL=61
	DiscoverPathMTU=yes
END
tunnel gre1 gre 1 2 "gre key 7" <<-END
	TTL=62
	Key=7
END
tunnel gre2 gre 1 2 "gre ikey 8 okey 9 seq" <<-END
	TTL=63
	TOS=16
	InputKey=9
	OutputKey=8
	SerializeTunneledPackets=yes
END
tunnel gretap1 gretap 1 2 "gretap key 10" <<-END
	TTL=64
	Key=10
END
tunnel erspan1 erspan 1 2 "erspan seq key 11 erspan_ver 1 erspan 0x123" <<-END
	TTL=65
	Key=11
	SerializeTunneledPackets=yes
	ERSPANIndex=291
END
tunnel erspan2 erspan 1 2 "erspan seq key 12 erspan_ver 2 erspan_dir egress
	erspan_hwid 5" <<-END
	TTL=66
	Key=12
	SerializeTunneledPackets=yes
	ERSPANVersion=2
	ERSPANDirection=egress
	ERSPANHardwareId=5
END
n0 ip fou add port 5555 gue
n1 ip fou add port 5555 gue
tunnel gue1 ipip 5 6 "ipip encap gue encap-sport auto encap-dport 5555" <<-END
	TTL=67
	FooOverUDP=yes
	Encapsulation=GenericUDPEncapsulation
	FOUDestinationPort=5555
END
for kind in gretap erspan; do
	cat >"$CONFIG/external-$kind.netdev" <<-END
		[NetDev]
		Name=ext-$kind
		Kind=$kind
		[Tunnel]
		Independent=yes
		External=yes
	END
done

start_networkd
made ipip1 'ipip ipip remote 192.0.2.2 local 192.0.2.1 ttl 61 pmtudisc'
made gre1 'gre remote 192.0.2.2 local 192.0.2.1 ttl 62 ikey 0.0.0.7 okey 0.0.0.7'
made gre2 'ttl 63 tos 0x10 .*ikey 0.0.0.9 okey 0.0.0.8 iseq oseq'
made gretap1 'gretap remote 192.0.2.2 .*ttl 64 .*ikey 0.0.0.10 okey 0.0.0.10'
made erspan1 'erspan remote 192.0.2.2 .*ttl 65 .*okey 0.0.0.11 .*erspan_index (0x123|291)'
made erspan2 'erspan remote .*erspan_ver 2 erspan_dir egress erspan_hwid 0x5'
made gue1 'ttl 67 .*encap gue encap-sport auto encap-dport 5555'
for kind in gretap erspan; do
	made ext-$kind "$kind external"
done
for name in "${NAMES[@]}"; do
	peer=PEER_$name
	check "$name: traffic" ping_ok n0 "${!peer}"
	check "$name: traffic, the other way" ping_ok n1 -I "${!peer}" \
		"${!peer%.*}.$((${!peer##*.} - 1))"
done
expect_eq "networkd could make each" "" \
	"$(grep -E 'netdev .*ailed|Failed to create netdev' "$LOG" || :)"
finish
