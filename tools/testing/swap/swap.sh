#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# 200 tunnels of all kinds in 20 namespaces, ten pairs of ten, under traffic:
# "iptnl swap" and "iptnl restore" leave everything as it was.
#
#	 a0                                      b0
#	 t0 .. t9  u0 198.51.100.1 === .2 u0  t0 .. t9
#	 br0: t2                                 br0: t2
#	 vrf0: t9 (pairs 0 to 4)                 vrf0: t9
#	 t9 has its link in b0 (pairs 5 to 9)    t9 has its link in a0
#
# and the same with a1, b1 to a9, b9. Traffic goes over pairs 0 and 5.
. "$(dirname "$0")/lib.sh"

PAIRS=${PAIRS:-10}

modprobe -a fou mpls_router mpls_iptunnel bridge vrf dummy sch_fq_codel 8021q
begin_in_tree

# tunnels ME PEER ADDRESS PEER_ADDRESS NUMBER: "ip -batch" for one side; NUMBER
# is 1 or 2 and tells the two sides' own addresses apart
tunnels()
{
	local me=$3 peer=$4 n=$5 far=$((3 - $5))
	cat <<-END
	link add t0 mtu 1400 txqueuelen 77 type ipip local $me remote $peer ttl 64 tos 0x10
	link set t0 alias "to the other side"
	link property add dev t0 altname the-first altname another
	link set t0 group 5
	link add t1 type gre local $me remote $peer key 1 seq csum ttl 33
	link add t2 address 02:00:00:00:02:0$n type gretap local $me remote $peer key 2 nopmtudisc ignore-df
	link add t3 address 02:00:00:00:03:0$n type erspan local $me remote $peer seq key 3 erspan_ver 1 erspan 7
	link add t4 address 02:00:00:00:04:0$n type erspan local $me remote $peer seq key 4 erspan_ver 2 erspan_dir egress erspan_hwid 5
	link add t5 address 02:00:00:00:05:0$n type erspan local $me remote $peer erspan_ver 0
	link add t6 type gre external
	link add t7 type ipip local 198.51.100.$((n + 4)) remote 198.51.100.$((far + 4)) encap fou encap-sport auto encap-dport 5555
	link add t8 type gre local $me key 8 fwmark 0x10
	END
}

# plain SIDE NUMBER: what is on the tunnels, again for "ip -batch"
dressing()
{
	local n=$1 far=$((3 - $1)) i
	echo "link set t3 addrgenmode eui64"
	for i in 0 1 2 3 4 5 6 7 8 9; do
		echo "link set t$i up"
	done
	cat <<-END
	link set t3 promisc on
	link set t4 multicast off
	addr add 203.0.113.$n peer 203.0.113.$far dev t0
	addr add 203.0.113.$((4 + n))/30 dev t1 broadcast + label t1:x
	addr add 203.0.113.$((4 + n + 32))/30 dev t1 metric 50
	addr add 203.0.113.$((12 + n))/30 dev t3
	addr add 203.0.113.$((16 + n))/30 dev t4 noprefixroute
	addr add 203.0.113.$((20 + n))/30 dev t5
	addr add 203.0.113.$((24 + n))/30 dev t6
	addr add 203.0.113.$((28 + n))/30 dev t7
	addr add 203.0.113.$((64 + n))/29 dev t8
	addr add 203.0.113.$((72 + n))/30 dev t9
	addr add 2001:db8:1::$n/64 dev t1
	addr add 2001:db8:3::$n/64 dev t3
	addr add 2001:db8:4::$n/64 dev t4 nodad noprefixroute
	neigh add 203.0.113.$((64 + far)) lladdr 198.51.100.$far nud permanent dev t8
	neigh add proxy 203.0.113.14 dev t3
	neigh add 2001:db8:3::99 lladdr 02:00:00:00:03:99 nud permanent dev t3
	nexthop add id 10 dev t0
	nexthop add id 11 via 203.0.113.$((4 + far)) dev t1
	nexthop add id 12 group 10,2/11,3
	nexthop add id 13 via 198.51.100.$far dev u0
	nexthop add id 14 group 10/13
	nexthop add id 15 via 2001:db8:1::$far dev t1
	route add 192.0.2.0/28 dev t0 metric 7 mtu 1300 src 203.0.113.$n
	route add 192.0.2.16/28 nexthop dev t0 weight 2 nexthop via 203.0.113.$((4 + far)) dev t1 weight 3
	route add 192.0.2.32/28 nhid 12
	route add 192.0.2.48/28 nhid 14
	route add 192.0.2.64/28 via 203.0.113.$((12 + far)) table 100 proto 99 onlink dev t3
	route add 192.0.2.80/28 via 192.0.2.1
	route add 192.0.2.96/28 nexthop via 198.51.100.$far dev u0 nexthop dev t0
	route add 192.0.2.112/28 via 198.51.100.$far src 203.0.113.$((20 + n))
	route add 192.0.2.128/28 encap mpls 200/300 via 203.0.113.$((4 + far))
	route add 192.0.2.144/28 dev t0
	route append 192.0.2.144/28 via 198.51.100.$far dev u0
	route add 203.0.113.$((24 + far)) encap ip id 6 src 198.51.100.$n dst 198.51.100.$far dev t6
	route add 203.0.113.$((16 + far)) dev t4
	route add blackhole 192.0.2.208/28
	-6 route add 2001:db8:10::/64 via 2001:db8:1::$far
	-6 route add 2001:db8:11::/64 nexthop via 2001:db8:1::$far dev t1 nexthop via 2001:db8:3::$far dev t3
	-6 route add 2001:db8:12::/64 nexthop via 2001:db8:1::$far dev t1 nexthop via 2001:db8:f::$far dev u0
	-6 route add 2001:db8:13::/64 nhid 15
	-6 route add 2001:db8:14::/64 dev t4 metric 5 table 100
	-f mpls route add 100 via inet 203.0.113.$((4 + far)) dev t1
	-f mpls route add 101 nexthop as 102 via inet 203.0.113.$((4 + far)) dev t1 nexthop as 103 via inet 198.51.100.$far dev u0
	link set tunl0 mtu 1300 alias "made by the module" up
	addr add 203.0.113.$((100 + n))/32 dev tunl0
	nexthop add id 20 dev tunl0
	route add 192.0.2.224/28 nhid 20
	route add 192.0.2.240/28 dev tunl0
	rule add iif t1 lookup 100 pref 1000
	rule add oif t3 lookup 100 pref 1001
	END
}

# side PAIR NAME PEER NUMBER
side()
{
	local pair=$1 me=$2 peer=$3 n=$4 far=$((3 - $4)) key
	{
		echo "addr add 198.51.100.$((n + 4))/24 dev u0"
		echo "addr add 2001:db8:f::$n/64 dev u0 nodad"
		echo "fou add port 5555 ipproto 4"
		tunnels "$me" "$peer" 198.51.100."$n" 198.51.100."$far" "$n"
		# The last one, without a device at first: see below.
		if [ "$pair" -lt 5 ]; then
			echo "link add t9 type gre local 198.51.100.$n remote 198.51.100.$far key 9 dev u0"
			echo "link add vrf0 type vrf table 9"
			echo "link set vrf0 up"
			echo "link set t9 master vrf0"
		else
			# Its packets are those of the other side's namespace.
			key=$((90 + n))
			echo "link add made link-netns $(ns "$peer") type gretap local 198.51.100.$far remote 198.51.100.$n ikey $key okey $((183 - key))"
			echo "link set made name t9"
		fi
		echo "link add br0 type bridge vlan_filtering 1 vlan_default_pvid 1"
		echo "link set t2 master br0"
		echo "link set t2 type bridge_slave cost 77 priority 9 hairpin on learning off isolated on"
		echo "link set br0 up"
		echo "addr add 203.0.113.$((8 + n))/30 dev br0"
	} >"$TMP/batch"
	in_ns "$me" ip -batch "$TMP/batch"
	# shellcheck disable=SC2016
	in_ns "$me" sh -ec '
		sysctl -qw net.mpls.platform_labels=1000 net.mpls.conf.t1.input=1 net.ipv4.conf.t0.rp_filter=2 \
			net.ipv4.conf.t3.proxy_arp=1 net.ipv6.conf.t1.hop_limit=33 net.ipv6.conf.t1.mtu=1290 \
			net.ipv6.conf.t3.accept_ra=2 net.ipv4.neigh.t8.gc_stale_time=99 net.ipv6.neigh.t3.base_reachable_time_ms=7000 \
			net.ipv6.conf.t4.dad_transmits=3 net.ipv6.conf.t5.disable_ipv6=1
		echo 1 >/sys/class/net/t1/queues/rx-0/rps_cpus
		ethtool -K t0 gso off >/dev/null
		ethtool -K t2 tx off >/dev/null
		bridge vlan add vid 5-7 dev t2
		bridge vlan add vid 8 pvid untagged dev t2
		bridge vlan add vid 8 pvid untagged dev br0 self
		bridge fdb add 02:00:00:00:02:99 dev t2 master static vlan 5'
	dressing "$n" >"$TMP/batch"
	grep -v '^-' "$TMP/batch" | in_ns "$me" ip -batch -
	sed -n 's/^-6 //p' "$TMP/batch" | in_ns "$me" ip -6 -batch -
	sed -n 's/^-f mpls //p' "$TMP/batch" | in_ns "$me" ip -f mpls -batch -
}

pair()
{
	local p=$1
	new_ns -6 "a$p" "b$p"
	veth_pair "a$p" u0 198.51.100.1/24 "b$p" u0 198.51.100.2/24
	side "$p" "a$p" "b$p" 1
	side "$p" "b$p" "a$p" 2
}

settled()
{
	local one
	for one; do
		[ -z "$(in_ns "$one" ip -6 addr show tentative)" ] || return 1
	done
}

count_tunnels()
{
	local one
	for one in "${NAMES[@]}"; do
		in_ns "$one" ip -o link show | grep -cE ' t[0-9](@[^:]*)?:'
	done | awk '{ n += $1 } END { print n }'
}

# every_answer: each tunnel of pairs 0 and 5 that has traffic passes it
every_answer()
{
	local p to
	for p in 0 5; do
		for to in 2 6 10 14 18 22 26 30 66; do
			[ "$p" -lt "$PAIRS" ] || continue
			ping_ok "a$p" "203.0.113.$to" || return 1
		done
		[ "$p" -ge "$PAIRS" ] || ping_ok "a$p" 2001:db8:3::2 || return 1
	done
	ping_ok a0 -I vrf0 203.0.113.74 || return 1
	[ "$PAIRS" -le 5 ] || ping_ok a5 203.0.113.74
}

flowing()
{
	local file before
	for file in "${STREAMS[@]}"; do
		before=$(grep -c 'bytes from' "$file") || :
		wait_for grown "$file" "$before" || return 1
	done
}

grown() { [ "$(grep -c 'bytes from' "$1")" -gt "$2" ]; }

# stream NS ADDRESS [OPTION]...: echoes all the time
stream()
{
	bg "$1" ping -n -i 0.2 "${@:3}" "$2"
	STREAMS+=("$BG_OUT")
}

# exchange COMMAND: run it under traffic, and see that nothing is different
exchange()
{
	local whose=$2
	check "$1: traffic flows before" flowing
	status_is "$1: done" 0 iptnl "$1"
	diag "note: $(grep interruption "$TMP/said" || :)"
	said "$1: says how many" "^$TUNNELS tunnels in $((2 * PAIRS)) namespaces carried over, interruption [0-9]+ ms\$"
	said "$1: says that statistics are new" '^the statistics of the tunnels start at 0$'
	check "$1: the modules are $whose" whose "$whose"
	check "$1: traffic goes on" flowing
	check "$1: every tunnel passes traffic" every_answer
	picture "after-$1" "${ALL[@]}"
	same "$1: everything is as before" before "after-$1"
	expect_eq "$1: packet steering is as before" 1 "$(b0 cat /sys/class/net/t1/queues/rx-0/rps_cpus)"
	check_fails "$1: nothing is left in /run" test -e /run/iptnl/state.json
}

declare -a ALL NAMES STREAMS
for ((p = 0; p < PAIRS; p++)); do
	pair "$p"
	ALL+=("$(ns "a$p")" "$(ns "b$p")")
	NAMES+=("a$p" "b$p")
done
wait_for settled "${NAMES[@]}"
TUNNELS=$(count_tunnels)
expect_eq "there are ten tunnels in each namespace" $((20 * PAIRS)) "$TUNNELS"
check "every tunnel passes traffic to begin with" every_answer
for to in 2 6 14 30; do
	stream a0 203.0.113.$to
done
picture before "${ALL[@]}"

status_is "swap --dry-run" 0 iptnl swap --dry-run
said "swap --dry-run says what it would carry" "^carry $TUNNELS tunnels in $((2 * PAIRS)) namespaces\$"
check "swap --dry-run changes no module" whose theirs
exchange swap ours
status_is "swap again: nothing to do" 0 iptnl swap
said "swap again says so" '^nothing to do'
exchange restore theirs

finish
