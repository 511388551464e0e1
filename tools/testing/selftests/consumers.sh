#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Drivers of the kernel that are built on tunnel4 and gre load on top of ours
# and pass traffic; in turn our ipip and ip_gre work on the kernel's own
# tunnel4 and gre, and its ipip and ip_gre on ours.
#
#	n0                                         n1
#	  (a tunnel) 198.51.100.1 ====== 198.51.100.2 (a tunnel)
#	             2001:db8:1::1 ====== 2001:db8:1::2
#	  v0         192.0.2.1  ------------ 192.0.2.2       v1
#	             2001:db8::1 ---------- 2001:db8::2

. "$(dirname "$0")/lib.sh"

CONSUMERS="vport_gre openvswitch pptp ip6_gre xfrm4_tunnel ip_vti"
CONSUMERS+=" xfrm_interface sit"

restore()
{
	remove_consumers
	remove_modules
	modprobe -a ipip ip_gre
}

remove_consumers()
{
	local m
	for m in $CONSUMERS; do
		remove_module "$m"
	done
}

defer restore
need_modules
new_ns -6 n0 n1
veth_pair n0 v0 192.0.2.1/24 n1 v1 192.0.2.2/24
n0 ip addr add 2001:db8::1/64 dev v0 nodad
n1 ip addr add 2001:db8::2/64 dev v1 nodad

# users MODULE: the modules built on it
users() { ls "/sys/module/$1/holders"; }

uses()
{
	users "$2" | grep -Fx "$1" >/dev/null
}

# loads CONSUMER [MODULE]...: it loads and is linked to our modules
loads()
{
	local consumer=$1 m
	shift
	check "$consumer loads" modprobe "$consumer"
	for m; do
		check "$consumer is built on $m" uses "$consumer" "$m"
		check "$m is still the one to be tested" right_module "$m"
	done
}

# ends TYPE ARGS...: make t1 at both ends, with inner addresses
ends()
{
	n0 ip link add t1 type "$@" local 192.0.2.1 remote 192.0.2.2 &&
	n1 ip link add t1 type "$@" local 192.0.2.2 remote 192.0.2.1 &&
	inner_addresses
}

inner_addresses()
{
	n0 ip link set t1 up && n1 ip link set t1 up &&
	n0 ip addr add 198.51.100.1/24 dev t1 &&
	n1 ip addr add 198.51.100.2/24 dev t1 &&
	n0 ip addr add 2001:db8:1::1/64 dev t1 nodad &&
	n1 ip addr add 2001:db8:1::2/64 dev t1 nodad
}

no_ends()
{
	n0 ip link del t1
	n1 ip link del t1
}

test_sit()
{
	loads sit tunnel4
	check "sit tunnel" ends sit mode ip6ip
	check "sit carries IPv6" ping_ok n0 2001:db8:1::2
	no_ends
	check "sit tunnel of mode any" ends sit mode any
	check "sit carries IPv6" ping_ok n0 2001:db8:1::2
	check "sit carries IPv4, behind ipip in the list" \
		ping_ok n0 198.51.100.2
	n0 ip link add t2 type ipip local 192.0.2.1 remote 192.0.2.2
	n0 ip link set t2 up
	stats_save n0 t2
	stats_save n0 t1
	check "sit still sends, replies are taken by ipip" \
		ping_fails_or_not n0 198.51.100.2
	check "ipip came first in the list" moved n0 t2 rx_packets
	check "sit got nothing" not_moved n0 t1 rx_packets
	n0 ip link del t2
	check "sit has them again" ping_ok n0 198.51.100.2
	no_ends
}

# The reply comes in on another device; whether it counts is up to routing.
ping_fails_or_not()
{
	ping_fails "$1" "$2" || :
}

moved()
{
	stats_delta "$1" "$2" | grep "^$3=1$" >/dev/null
}

not_moved()
{
	! stats_delta "$1" "$2" | grep "^$3=" >/dev/null
}

AEAD="rfc4106(gcm(aes))"
KEY=0x4242424242424242424242424242424242424242

# esp_states NS ARGS...: both directions
esp_states()
{
	local in=$1
	shift
	in_ns "$in" ip xfrm state add src 192.0.2.1 dst 192.0.2.2 \
		proto esp spi 0x100 reqid 1 mode tunnel \
		aead "$AEAD" "$KEY" 128 "$@" &&
	in_ns "$in" ip xfrm state add src 192.0.2.2 dst 192.0.2.1 \
		proto esp spi 0x101 reqid 1 mode tunnel \
		aead "$AEAD" "$KEY" 128 "$@"
}

# esp_policies NS LOCAL REMOTE ARGS...
esp_policies()
{
	local in=$1 here=$2 there=$3 way
	shift 3
	for way in out in fwd; do
		local src=$here dst=$there
		[ "$way" = out ] || { src=$there; dst=$here; }
		in_ns "$in" ip xfrm policy add dir "$way" \
			src 0.0.0.0/0 dst 0.0.0.0/0 "$@" \
			tmpl src "$src" dst "$dst" proto esp reqid 1 \
			mode tunnel || return 1
	done
}

flush_xfrm()
{
	n0 ip xfrm state flush
	n0 ip xfrm policy flush
	n1 ip xfrm state flush
	n1 ip xfrm policy flush
}

test_vti()
{
	loads ip_vti tunnel4
	check "vti tunnel" ends vti key 7
	check "states of n0" esp_states n0 mark 7 mask 0xffffffff
	check "states of n1" esp_states n1 mark 7 mask 0xffffffff
	check "policies of n0" esp_policies n0 192.0.2.1 192.0.2.2 \
		mark 7 mask 0xffffffff
	check "policies of n1" esp_policies n1 192.0.2.2 192.0.2.1 \
		mark 7 mask 0xffffffff
	check "vti carries IPv4" ping_ok n0 198.51.100.2
	flush_xfrm
	no_ends
}

test_xfrm_interface()
{
	loads xfrm_interface tunnel4
	n0 ip link add t1 type xfrm dev v0 if_id 9
	n1 ip link add t1 type xfrm dev v1 if_id 9
	check "xfrm interface" inner_addresses
	check "states of n0" esp_states n0 if_id 9
	check "states of n1" esp_states n1 if_id 9
	check "policies of n0" esp_policies n0 192.0.2.1 192.0.2.2 if_id 9
	check "policies of n1" esp_policies n1 192.0.2.2 192.0.2.1 if_id 9
	check "xfrm interface carries IPv4" ping_ok n0 198.51.100.2
	flush_xfrm
	no_ends
}

# comp NS LOCAL REMOTE ADDR PEER: IPComp in tunnel mode. What is too short to
# be compressed goes as plain IP in IP and comes in through tunnel4.
comp()
{
	in_ns "$1" ip addr add "$4/32" dev lo &&
	in_ns "$1" ip route add "$5/32" via "$3" src "$4" &&
	in_ns "$1" ip xfrm state add src "$2" dst "$3" proto comp spi 0x10 \
		mode tunnel comp deflate &&
	in_ns "$1" ip xfrm state add src "$3" dst "$2" proto comp spi 0x10 \
		mode tunnel comp deflate &&
	in_ns "$1" ip xfrm policy add dir out src "$4" dst "$5" \
		tmpl src "$2" dst "$3" proto comp mode tunnel &&
	in_ns "$1" ip xfrm policy add dir in src "$5" dst "$4" \
		tmpl src "$3" dst "$2" proto comp mode tunnel level use
}

test_ipcomp()
{
	loads xfrm4_tunnel tunnel4
	check "IPComp in n0" comp n0 192.0.2.1 192.0.2.2 \
		203.0.113.1 203.0.113.2
	check "IPComp in n1" comp n1 192.0.2.2 192.0.2.1 \
		203.0.113.2 203.0.113.1
	capture n1 v1 comp.pcap ip host 192.0.2.1
	check "short packets pass as IP in IP through tunnel4" \
		ping_ok n0 -s 16 203.0.113.2
	check "long packets pass compressed" \
		ping_ok n0 -s 1000 -p 00 203.0.113.2
	capture_wait comp.pcap 4
	capture_stop "$CAP"
	expect_eq "protocols on the wire" "4 4 108 108" "$(capture_hex \
		comp.pcap | cut -c47-48 | while read -r x; do
			echo $((0x$x)); done | sort -n | xargs)"
	flush_xfrm
}

test_ip6gre()
{
	loads ip6_gre gre
	n0 ip link add t1 type ip6gre local 2001:db8::1 remote 2001:db8::2 \
		key 3
	n1 ip link add t1 type ip6gre local 2001:db8::2 remote 2001:db8::1 \
		key 3
	check "ip6gre tunnel" inner_addresses
	check "ip6gre carries IPv4" ping_ok n0 198.51.100.2
	check "ip6gre carries IPv6" ping_ok n0 2001:db8:1::2
	no_ends
}

test_pptp()
{
	loads pptp gre
	check "pptp unloads" remove_module pptp
	loads pptp gre
}

# our_tunnels WHAT: ipip and gre pass traffic
our_tunnels()
{
	check "ipip tunnel $1" ends ipip
	check "ipip carries IPv4 $1" ping_ok n0 198.51.100.2
	no_ends
	check "gre tunnel $1" ends gre key 5 csum seq
	check "gre carries IPv4 $1" ping_ok n0 198.51.100.2
	check "gre carries IPv6 $1" ping_ok n0 2001:db8:1::2
	no_ends
}

test_all_at_once()
{
	modprobe -a sit ip_vti xfrm_interface xfrm4_tunnel ip6_gre pptp
	our_tunnels "with all of them loaded"
	check "tunnel4 users" [ "$(users tunnel4 | xargs)" = \
		"ip_vti ipip sit xfrm4_tunnel xfrm_interface" ]
	check "gre users" [ "$(users gre | xargs)" = "ip6_gre ip_gre pptp" ]
	refuse "tunnel4 is in use" 'in use' rmmod tunnel4
	refuse "gre is in use" 'in use' rmmod gre
	check "all of them unload" remove_consumers
}

# in_tree MODULE: load the kernel's own file
in_tree()
{
	local file
	file=$(find "/lib/modules/$(uname -r)/kernel" -name "$1.ko*" |
		head -n 1)
	insmod "$file"
}

test_mixed()
{
	remove_modules
	check "the kernel's tunnel4 loads" in_tree tunnel4
	check "the kernel's gre loads" in_tree gre
	check "our ipip on it" modprobe ipip
	check "our ip_gre on it" modprobe ip_gre
	check_fails "tunnel4 is the kernel's" is_ours tunnel4
	check_fails "gre is the kernel's" is_ours gre
	check "ipip is ours" is_ours ipip
	check "ip_gre is ours" is_ours ip_gre
	our_tunnels "on the kernel's tunnel4 and gre"
	remove_modules

	modprobe -a tunnel4 gre ip_tunnel
	check "the kernel's ipip on our tunnel4" in_tree ipip
	check "the kernel's ip_gre on our gre" in_tree ip_gre
	check "tunnel4 is ours" is_ours tunnel4
	check "gre is ours" is_ours gre
	check_fails "ipip is the kernel's" is_ours ipip
	our_tunnels "of the kernel on our tunnel4 and gre"
}

test_sit
test_vti
test_xfrm_interface
test_ipcomp
test_ip6gre
test_pptp
check "openvswitch loads" modprobe openvswitch
test_all_at_once
[ "$IPTNL_IN_TREE" = 1 ] || test_mixed
finish
