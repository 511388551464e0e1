#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A tunnel's life: made by ioctl or netlink, changed, renamed, looked up, moved
# up and down, deleted, alone and by the hundred; and the fallback devices.
# What each command prints exactly is the matter of test_dump.py.
#
#	n0                               n1
#	  t1   198.51.100.1 ====== t1  198.51.100.2
#	  v0   192.0.2.1 ------------ v1  192.0.2.2
#	                                  192.0.2.3

. "$(dirname "$0")/lib.sh"

need_modules
new_ns n0 n1
veth_pair n0 v0 192.0.2.1/24 n1 v1 192.0.2.2/24
n1 ip addr add 192.0.2.3/24 dev v1

rename_down()
{
	n0 ip link set "$1" down && n0 ip link set "$1" name "$2"
}

test_fallback()
{
	local dev kind
	for dev in tunl0 gre0; do
		kind=ipip
		[ $dev = tunl0 ] || kind=gre
		check "$dev exists and is down" lacks n0 $dev '[<,]UP[,>]'
		check "$dev is NOARP and not point-to-point" \
			shows n0 $dev '<NOARP>'
		check "$dev is of kind $kind" \
			shows n0 $dev " $kind (any )?remote any local any ttl inherit"
		check "$dev has no DF" shows n0 $dev ' nopmtudisc'
		check "$dev goes up" n0 ip link set $dev up
		check "$dev is up" shows n0 $dev '<NOARP,UP,LOWER_UP>'
		check "$dev: deleting by netlink does nothing" \
			n0 ip link del $dev
		check "$dev is still there" has_dev n0 $dev
		refuse -n n0 "$dev cannot be deleted by ioctl" . \
			n0 ip tunnel del $dev
		refuse -n n0 "$dev cannot be changed" . n0 ip link set $dev \
			type $kind local 192.0.2.1
		refuse -n n0 "$dev cannot move to another namespace" . \
			n0 ip link set $dev netns "$(ns n1)"
		check "$dev can be renamed when down" \
			rename_down $dev other
		check "$dev: deleting by netlink does nothing" \
			n0 ip link del other
		refuse -n n0 "and stays undeletable" . n0 ip tunnel del other
		check "$dev gets its name back" n0 ip link set other name $dev
	done
	expect_eq "tunl0 has MTU 1480" 1480 "$(mtu_of n0 tunl0)"
	expect_eq "gre0 has MTU 1476" 1476 "$(mtu_of n0 gre0)"
}

test_fallback_sysctl()
{
	local old=/proc/sys/net/core/fb_tunnels_only_for_init_net
	local was want mode
	was=$(cat $old)
	defer sh -c "echo $was >$old"
	for mode in 0 1 2; do
		echo $mode >$old
		new_ns f$mode
		want=has_dev
		[ $mode = 0 ] || want=no_dev
		check "tunl0 in a new namespace, mode $mode: $want" \
			$want f$mode tunl0
		check "gre0 in a new namespace, mode $mode: $want" \
			$want f$mode gre0
		check "ipip can be made, mode $mode" f$mode ip link add t1 \
			type ipip local 192.0.2.1 remote 192.0.2.2
		check "gre can be made, mode $mode" f$mode ip link add t2 \
			type gre local 192.0.2.1 remote 192.0.2.2
		check "gre is deleted, mode $mode" f$mode ip link del t2
		if [ $mode != 0 ]; then
			refuse "no device for the ioctl, mode $mode" \
				'No such device' f$mode ip tunnel add t3 \
				mode gre remote 192.0.2.3
			check "tunl0 can be made and deleted, mode $mode" \
				f$mode ip link add tunl0 type ipip
			check "for it is no fallback device then" \
				f$mode ip link del tunl0
		fi
		del_ns f$mode
	done
	echo 0 >$old
	check "tunl0 in the first namespace is not touched" \
		test -e /sys/class/net/tunl0
	remove_modules
	for mode in 2 1; do
		echo $mode >$old
		modprobe -a ipip ip_gre
		want=check
		[ $mode = 1 ] || want=check_fails
		$want "tunl0 after loading in mode $mode" \
			test -e /sys/class/net/tunl0
		$want "gre0 after loading in mode $mode" \
			test -e /sys/class/net/gre0
		check "none in n0, mode $mode" no_dev n0 gre0
		remove_modules
	done
	echo "$was" >$old
	modprobe -a ipip ip_gre
	check "back in n0" has_dev n0 gre0
}

# pair TYPE ARGS...: t1 at both ends, with addresses
pair()
{
	n0 ip link add t1 type "$@" local 192.0.2.1 remote 192.0.2.2 &&
	n1 ip link add t1 type "$@" local 192.0.2.2 remote 192.0.2.1 &&
	pair_up
}

pair_up()
{
	n0 ip addr add 198.51.100.1/24 dev t1 &&
	n1 ip addr add 198.51.100.2/24 dev t1 &&
	n0 ip link set t1 up && n1 ip link set t1 up
}

no_pair()
{
	n0 ip link del "${1:-t1}"
	n1 ip link del t1
}

test_netlink()
{
	local kind=$1 other=$2
	check "$kind: made by netlink" pair "$kind"
	check "$kind: point-to-point, no ARP" shows n0 t1 \
		'<POINTOPOINT,NOARP,UP,LOWER_UP>'
	check "$kind: no queue" shows n0 t1 'qdisc noqueue'
	check "$kind: addresses of the ends" shows n0 t1 \
		"link/$kind 192.0.2.1 peer 192.0.2.2"
	check "$kind: passes a ping" ping_ok n0 198.51.100.2
	refuse -n n0 "$kind: no second one with the same ends" 'exists' \
		n0 ip link add t2 type "$kind" \
		local 192.0.2.1 remote 192.0.2.2
	refuse -n n0 "$kind: no second one of that name" 'exists' \
		n0 ip link add t1 type "$kind" \
		local 192.0.2.1 remote 192.0.2.9
	check "$kind: the other kind may have the same ends" n0 ip link add \
		t2 type "$other" local 192.0.2.1 remote 192.0.2.2
	n0 ip link del t2
	check "$kind: the same ends by another device" n0 ip link add t2 \
		type "$kind" local 192.0.2.1 remote 192.0.2.2 dev v0
	n0 ip link del t2
	refuse -n n0 "$kind: no change to the other kind" . n0 ip link set \
		t1 type "$other" local 192.0.2.1 remote 192.0.2.2

	check "$kind: change the remote" n0 ip link set t1 type "$kind" \
		local 192.0.2.1 remote 192.0.2.3
	check "$kind: both ends" n1 ip link set t1 type "$kind" \
		local 192.0.2.3 remote 192.0.2.1
	check "$kind: shows the new one" shows n0 t1 'remote 192.0.2.3 '
	check "$kind: peer is the new one" shows n0 t1 'peer 192.0.2.3 '
	check "$kind: passes a ping afterwards" ping_ok n0 198.51.100.2
	check "$kind: change while up, ttl and tos" n0 ip link set t1 \
		type "$kind" local 192.0.2.1 remote 192.0.2.3 ttl 9 tos 0x10
	check "$kind: shows them" shows n0 t1 ' ttl 9 tos 0x10 '
	check "$kind: still passes a ping" ping_ok n0 198.51.100.2
	check "$kind: what is not given is reset" nl n0 set t1 "$kind" \
		LOCAL=192.0.2.1 REMOTE=192.0.2.3
	check "$kind: to the defaults" shows n0 t1 \
		"$kind (any )?remote 192.0.2.3 local 192.0.2.1 ttl inherit (pmtudisc )?addrgen"

	check "$kind: down and up" n0 ip link set t1 down
	check "$kind: no ping when down" ping_fails n0 198.51.100.2
	n0 ip link set t1 up
	check "$kind: ping when up" ping_ok n0 198.51.100.2
	check "$kind: rename" rename_down t1 r1
	n0 ip link set r1 up
	check "$kind: no old name" no_dev n0 t1
	check "$kind: passes a ping under the new name" \
		ping_ok n0 198.51.100.2
	check "$kind: to the ioctl it keeps the first name" expect_get n0 r1 \
		name=t1 saddr=192.0.2.1 daddr=192.0.2.3
	check "$kind: the old name is free" n0 ip link add t1 type "$kind" \
		local 192.0.2.1 remote 192.0.2.7
	n0 ip link del t1
	check "$kind: the underlay goes down and comes back" \
		n0 ip link set v0 down
	check "$kind: no ping meanwhile" ping_fails n0 198.51.100.2
	n0 ip link set v0 up
	n0 ip neigh replace 192.0.2.3 lladdr 02:00:00:00:01:01 \
		nud permanent dev v0
	check "$kind: passes a ping after" ping_ok n0 198.51.100.2
	no_pair r1
	check "$kind: gone" no_dev n0 r1
	refuse "$kind: cannot be deleted twice" 'Cannot find device' \
		n0 ip link del r1
}

# expect_get NS DEV FIELD=VALUE...: what SIOCGETTUNNEL on DEV returns
expect_get()
{
	local got field
	got=" $(tunctl "$1" "$2" get) "
	shift 2
	for field; do
		if [[ $got != *" $field "* ]]; then
			echo "no $field in $got"
			return 1
		fi
	done
}

test_ioctl()
{
	local kind=$1 proto=47 fallback=gre0
	[ "$kind" = gre ] || { proto=4; fallback=tunl0; }
	n0 ip tunnel add t1 mode "$kind" local 192.0.2.1 remote 192.0.2.2
	n1 ip tunnel add t1 mode "$kind" local 192.0.2.2 remote 192.0.2.1
	check "$kind: made by ioctl" pair_up
	check "$kind: passes a ping" ping_ok n0 198.51.100.2
	check "$kind: SIOCGETTUNNEL on it" expect_get n0 t1 name=t1 \
		saddr=192.0.2.1 daddr=192.0.2.2 protocol=$proto ver_ihl=69 \
		frag_off=0x4000 ttl=0 tos=0 link=0 i_flags=0x0000 i_key=0
	check "$kind: SIOCGETTUNNEL by its ends on $fallback" \
		expect_parms $fallback name=t1 -- protocol=$proto \
		saddr=192.0.2.1 daddr=192.0.2.2
	check "$kind: SIOCGETTUNNEL of no tunnel gives the fallback" \
		expect_parms $fallback name=$fallback -- protocol=$proto \
		saddr=192.0.2.1 daddr=192.0.2.8
	check "$kind: change by ioctl" n0 ip tunnel change t1 mode "$kind" \
		local 192.0.2.1 remote 192.0.2.3 ttl 5 tos 0x10
	n1 ip tunnel change t1 mode "$kind" local 192.0.2.3 remote 192.0.2.1
	check "$kind: SIOCGETTUNNEL shows it" expect_get n0 t1 name=t1 \
		daddr=192.0.2.3 ttl=5 tos=16
	check "$kind: so does netlink" shows n0 t1 \
		"remote 192.0.2.3 local 192.0.2.1 ttl 5 tos 0x10"
	check "$kind: passes a ping" ping_ok n0 198.51.100.2
	refuse -n n0 "$kind: no second one with the same ends" 'exists' \
		n0 ip tunnel add t2 mode "$kind" \
		local 192.0.2.1 remote 192.0.2.3
	refuse -n n0 "$kind: no second one of that name" 'exists' \
		n0 ip tunnel add t1 mode "$kind" \
		local 192.0.2.1 remote 192.0.2.9
	check "$kind: a second one" n0 ip tunnel add t2 mode "$kind" \
		local 192.0.2.1 remote 192.0.2.9
	refuse -n n0 "$kind: cannot change to the ends of another" \
		'exists' n0 ip tunnel change t2 mode "$kind" \
		local 192.0.2.1 remote 192.0.2.3
	refuse -n n0 "$kind: cannot change what is not there" \
		'No such' n0 ip tunnel change t3 mode "$kind" \
		local 192.0.2.1 remote 192.0.2.9
	check "$kind: netlink changes what the ioctl made" n0 ip link set t2 \
		type "$kind" local 192.0.2.1 remote 192.0.2.10
	check "$kind: the ioctl sees it" expect_get n0 t2 daddr=192.0.2.10
	check "$kind: delete by ioctl" n0 ip tunnel del t2
	check "$kind: gone" no_dev n0 t2
	check "$kind: delete one made by netlink" n0 ip link add t2 \
		type "$kind" remote 192.0.2.44
	check "$kind: by ioctl" n0 ip tunnel del t2
	check "$kind: gone" no_dev n0 t2
	check "$kind: no name given: the first" n0 ip tunnel add \
		mode "$kind" remote 192.0.2.20
	check "$kind: no name given: the second" n0 ip tunnel add \
		mode "$kind" remote 192.0.2.21
	local first=${kind}1 second=${kind}2
	[ "$kind" = gre ] || { first=ipip0; second=ipip1; }
	check "$kind: $first" shows n0 "$first" 'remote 192.0.2.20 '
	check "$kind: $second" shows n0 "$second" 'remote 192.0.2.21 '
	check "$kind: delete by ends" n0 ip tunnel del mode "$kind" \
		remote 192.0.2.20
	check "$kind: $first gone" no_dev n0 "$first"
	check "$kind: $second there" has_dev n0 "$second"
	check "$kind: the free name is used again" n0 ip tunnel add \
		mode "$kind" remote 192.0.2.22
	check "$kind: $first" shows n0 "$first" 'remote 192.0.2.22 '
	check "$kind: a name with %d" n0 ip tunnel add my%d mode "$kind" \
		remote 192.0.2.23
	check "$kind: my0" has_dev n0 my0
	n0 ip link del my0
	n0 ip link del "$first"
	n0 ip link del "$second"
	no_pair
}

# expect_parms DEV FIELD=VALUE... -- PARM=VALUE...: ask DEV for those parms
expect_parms()
{
	local dev=$1 field got
	local -a want=()
	shift
	while [ "$1" != -- ]; do
		want+=("$1")
		shift
	done
	shift
	got=" $(tunctl n0 "$dev" get "$@") "
	for field in "${want[@]}"; do
		if [[ $got != *" $field "* ]]; then
			echo "no $field in $got"
			return 1
		fi
	done
}

# mtu_range KIND DEV LOW HIGH
mtu_range()
{
	local kind=$1 dev=$2 low=$3 high=$4 mtu
	for mtu in "$low" "$high"; do
		check "$kind: MTU $mtu" n0 ip link set "$dev" mtu "$mtu"
		expect_eq "$kind: MTU is $mtu" "$mtu" "$(mtu_of n0 "$dev")"
	done
	for mtu in $((low - 1)) $((high + 1)); do
		refuse -n n0 -d "$dev" "$kind: MTU $mtu is refused" . \
			n0 ip link set "$dev" mtu "$mtu"
	done
}

test_mtu()
{
	local n=30 want kind args
	while read -r want kind args; do
		n=$((n + 1))
		# shellcheck disable=SC2086
		n0 ip link add t1 type "$kind" local 192.0.2.1 \
			remote 192.0.2.$n $args
		expect_eq "$kind $args: MTU from the route" $((1500 - want)) \
			"$(mtu_of n0 t1)"
		mtu_range "$kind $args" t1 68 $((65535 - want))
		n0 ip link del t1
		# shellcheck disable=SC2086
		n0 ip tunnel add t1 mode "$kind" local 192.0.2.1 \
			remote 192.0.2.$n $args
		mtu_range "ioctl $kind $args" t1 68 $((65535 - want))
		n0 ip link del t1
	done <<-END
		20 ipip
		24 gre
		28 gre seq
		36 gre key 1 csum seq
	END
	n0 ip link set v0 mtu 1300
	n0 ip link add t1 type gre local 192.0.2.1 remote 192.0.2.40
	expect_eq "MTU follows the route at creation" 1276 "$(mtu_of n0 t1)"
	n0 ip link set v0 mtu 1400
	expect_eq "and not later" 1276 "$(mtu_of n0 t1)"
	n0 ip link set t1 type gre local 192.0.2.1 remote 192.0.2.40 dev v0
	expect_eq "but when the device is changed" 1376 "$(mtu_of n0 t1)"
	n0 ip link set t1 type gre local 192.0.2.1 remote 192.0.2.40 dev v0 \
		key 9
	expect_eq "and by what the header takes" 1372 "$(mtu_of n0 t1)"
	n0 ip link set v0 mtu 1500
	n0 ip link del t1
}

test_misc()
{
	local kind
	for kind in ipip gre; do
		n0 ip link add t1 type $kind local 192.0.2.1 remote 192.0.2.2
		check "$kind: alias" n0 ip link set t1 alias "to n1"
		check "$kind: group" n0 ip link set t1 group 5
		check "$kind: address" n0 ip link set t1 txqueuelen 7
		check "$kind: alternative name" n0 ip link property add \
			dev t1 altname a-long-name-for-a-tunnel
		check "$kind: delete by it" n0 ip link del \
			a-long-name-for-a-tunnel
		check "$kind: gone" no_dev n0 t1

		n0 ip link add d0 type dummy
		n0 ip link set d0 up
		n0 ip link add t1 type $kind local 192.0.2.1 \
			remote 192.0.2.2 dev d0
		check "$kind: its device goes" n0 ip link del d0
		check "$kind: the tunnel stays" has_dev n0 t1
		check "$kind: and can be shown" n0 ip -d link show t1
		check "$kind: and changed" n0 ip link set t1 type $kind \
			local 192.0.2.1 remote 192.0.2.2 dev v0
		n0 ip link del t1
	done
}

# many KIND PROTO FALLBACK: 200 tunnels, in one batch
many()
{
	local kind=$1 i
	for i in $(seq 1 200); do
		echo "link add many$i type $kind local 192.0.2.1" \
			"remote 203.0.113.$i"
	done >"$TMP/add"
	for i in $(seq 1 200); do
		echo "link set many$i up"
	done >"$TMP/up"
	for i in $(seq 2 2 200) $(seq 1 2 200); do
		echo "link del many$i"
	done >"$TMP/del"
	check "$kind: 200 are made" n0 ip -b "$TMP/add"
	check "$kind: 200 go up" n0 ip -b "$TMP/up"
	expect_eq "$kind: 200 are listed" 200 "$(n0 ip -o link show \
		type "$kind" | grep -c ': many')"
	expect_eq "$kind: 200 are listed by the ioctl" 200 \
		"$(n0 ip tunnel show | grep -c '^many')"
	check "$kind: the 137th is found by its ends" expect_parms "$3" \
		name=many137 -- protocol="$2" \
		saddr=192.0.2.1 daddr=203.0.113.137
	check "$kind: 200 are deleted" n0 ip -b "$TMP/del"
	check "$kind: none is left" [ -z "$(n0 ip -o link show type "$kind" |
		grep ': many' || :)" ]
}

test_fallback
test_netlink ipip gre
test_netlink gre ipip
test_ioctl ipip
test_ioctl gre
test_mtu
test_misc
many ipip 4 tunl0
many gre 47 gre0
test_fallback_sysctl
finish
