#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What is refused is refused with a reason, and has changed nothing and made
# nothing; what is not understood is not stored.
#
#	n0                               n1
#	  g1, i1 198.51.100.1 =====      g1, i1
#	  v0   192.0.2.1 ------------ v1  192.0.2.2

. "$(dirname "$0")/lib.sh"

need_modules
new_ns n0 n1
veth_pair n0 v0 192.0.2.1/24 n1 v1 192.0.2.2/24
n0 ip link add g1 type gre local 192.0.2.1 remote 192.0.2.2 key 5 ttl 9
n0 ip link add i1 type ipip local 192.0.2.1 remote 192.0.2.2 ttl 9
n0 ip link set g1 up
n0 ip link set i1 up

# Two more
second()
{
	n0 ip link add g2 type gre local 192.0.2.1 remote 192.0.2.3 key 5 ttl 9
	n0 ip link add i2 type ipip local 192.0.2.1 remote 192.0.2.3 ttl 9
}
second

# bad_ioctl ERRNO NAME DEV COMMAND FIELD=VALUE...
bad_ioctl()
{
	refuse -n n0 "ioctl: $2: $1" "^$1$" tunctl n0 "${@:3}"
	drop_x
}

ENDS=(LOCAL=192.0.2.1 REMOTE=192.0.2.9)

test_gre_flags()
{
	local bit side
	for bit in 0x0001 0x0002 0x0004 0x0007 0x4000; do
		for side in IFLAGS OFLAGS; do
			bad EINVAL "gre: new with $side $bit" new x gre \
				"${ENDS[@]}" $side=$bit
			bad EINVAL "gre: set with $side $bit" set g1 gre \
				"${ENDS[@]}" $side=$bit
		done
		bad EINVAL "gre: $bit beside good flags" new x gre "${ENDS[@]}" \
			IFLAGS=$((0xb000 | bit)) OFLAGS=0xb000
	done
}

# Strict route and recursion are in no GRE header of today.
test_gre_unknown_flags()
{
	local bit
	for bit in 0x0800 0x0400 0x0200 0x0100 0x0080 0x0078; do
		check "gre: made with or without unknown flag $bit" \
			gre_flags_or_not $bit
		differs "they are stored" \
			expect_eq "gre: flag $bit is not stored" \
			"i_flags=0x0000 o_flags=0x0000" \
			"$(tunctl n0 x get | grep -o '[io]_flags=[^ ]*' |
				xargs)"
		n0 ip link del x
	done
}

gre_flags_or_not()
{
	nl n0 new x gre "${ENDS[@]}" IFLAGS="$1" OFLAGS="$1" ||
		nl n0 new x gre "${ENDS[@]}"
}

test_lengths()
{
	local kind attribute
	for kind in gre ipip; do
		for attribute in LINK=hex:01 LOCAL=hex:c000 REMOTE=hex:c00002 \
			TTL=hex: TOS=hex: PMTUDISC=hex: FWMARK=hex:0102 \
			ENCAP_TYPE=hex:00 ENCAP_SPORT=hex:00; do
			bad ERANGE "$kind: new with short $attribute" \
				new x $kind $attribute
			bad ERANGE "$kind: set with short $attribute" \
				set ${kind:0:1}1 $kind $attribute
		done
	done
	for attribute in IFLAGS=hex:20 OFLAGS=hex:20 IKEY=hex:0000 OKEY=hex:00 \
		IGNORE_DF=hex:; do
		bad ERANGE "gre: new with short $attribute" new x gre $attribute
		bad ERANGE "gre: set with short $attribute" set g1 gre \
			$attribute
	done
	for kind in gre ipip; do
		bad ERANGE "$kind: a flag that has a value" new x $kind "${ENDS[@]}" \
			COLLECT_METADATA=hex:00
	done
	bad ERANGE "ipip: short PROTO" new x ipip PROTO=hex:
}

test_ipip_proto()
{
	local proto
	for proto in 1 6 41 47 99 255; do
		bad EINVAL "ipip: new with protocol $proto" new x ipip \
			"${ENDS[@]}" PROTO=$proto
		bad EINVAL "ipip: set to protocol $proto" set i1 ipip \
			"${ENDS[@]}" PROTO=$proto
	done
}

# IFLA_IPTUN_FLAGS is sit's.
test_ipip_flags()
{
	local flags
	for flags in 0x8000 0x1000 0x2000 0xffff; do
		check "ipip: made with or without FLAGS $flags" \
			flags_or_not $flags
		differs "IFLA_IPTUN_FLAGS becomes i_flags" \
			expect_eq "ipip: FLAGS $flags are not stored" \
			"i_flags=0x0000 o_flags=0x0000" \
			"$(tunctl n0 x get | grep -o '[io]_flags=[^ ]*' |
				xargs)"
		n0 ip link del x
		nl n0 set i1 ipip LOCAL=192.0.2.1 REMOTE=192.0.2.2 \
			FLAGS=$flags || :
		differs "IFLA_IPTUN_FLAGS becomes i_flags" \
			expect_eq "ipip: set FLAGS $flags are not stored" \
			"i_flags=0x0000" \
			"$(tunctl n0 i1 get | grep -o 'i_flags=[^ ]*')"
	done
	nl n0 set i1 ipip LOCAL=192.0.2.1 REMOTE=192.0.2.2 TTL=9
}

flags_or_not()
{
	nl n0 new x ipip "${ENDS[@]}" FLAGS="$1" || nl n0 new x ipip "${ENDS[@]}"
}

test_df()
{
	bad EINVAL "gre: new with ignore-df and pmtudisc" new x gre "${ENDS[@]}" \
		IGNORE_DF=1 PMTUDISC=1
	bad EINVAL "gre: new with ignore-df and pmtudisc by default" new x gre \
		"${ENDS[@]}" IGNORE_DF=1
	bad EINVAL "gre: set ignore-df and pmtudisc" set g1 gre "${ENDS[@]}" \
		IGNORE_DF=1 PMTUDISC=1
	check "gre: ignore-df without pmtudisc" nl n0 new x gre "${ENDS[@]}" \
		IGNORE_DF=1 PMTUDISC=0
	differs "R6: ignore-df goes before the check" \
		bad EINVAL "gre: ignore-df is kept when pmtudisc comes" \
		set x gre "${ENDS[@]}" IGNORE_DF=0 PMTUDISC=1 IFLAGS=0x4000
	n0 ip link del x
	check "ipip: pmtudisc off with a ttl is overridden" nl n0 new x ipip \
		"${ENDS[@]}" TTL=5 PMTUDISC=0
	expect_match "ipip: pmtudisc is on" 'ttl 5 pmtudisc' \
		"$(n0 ip -d link show x)"
	n0 ip link del x
}

test_fallback()
{
	bad EINVAL "gre0 cannot be changed" set gre0 gre "${ENDS[@]}"
	bad EINVAL "tunl0 cannot be changed" set tunl0 ipip "${ENDS[@]}"
	bad EINVAL "gre0 cannot be changed to nothing" set gre0 gre
	bad EINVAL "tunl0 cannot be changed to nothing" set tunl0 ipip
	bad_ioctl EPERM "gre0 cannot be deleted" gre0 del protocol=47
	bad_ioctl EPERM "tunl0 cannot be deleted" tunl0 del protocol=4
	bad_ioctl EPERM "gre0 cannot be deleted by its name" gre0 del \
		protocol=47 name=gre0
	bad_ioctl ENOENT "gre0: change what is not there" gre0 chg \
		protocol=47 daddr=192.0.2.77
	bad_ioctl ENOENT "tunl0: change what is not there" tunl0 chg \
		protocol=4 daddr=192.0.2.77
	bad_ioctl ENOENT "gre0: delete what is not there" gre0 del \
		protocol=47 daddr=192.0.2.77
	bad_ioctl ENOENT "tunl0: delete what is not there" tunl0 del \
		protocol=4 daddr=192.0.2.77
}

test_class()
{
	n0 ip link add m1 type gre local 192.0.2.1 remote 233.252.0.1
	n0 ip link add w1 type gre local 192.0.2.1 key 77
	bad EINVAL "gre: unicast to multicast" set g1 gre LOCAL=192.0.2.1 \
		REMOTE=233.252.0.2
	bad EINVAL "gre: multicast to unicast" set m1 gre LOCAL=192.0.2.1 \
		REMOTE=192.0.2.9
	bad EINVAL "ipip: unicast to multicast" set i1 ipip LOCAL=192.0.2.1 \
		REMOTE=233.252.0.2
	bad EINVAL "gre: unicast to any" set g1 gre LOCAL=192.0.2.1
	bad EINVAL "ipip: unicast to any" set i1 ipip LOCAL=192.0.2.1
	bad EINVAL "gre: any to unicast" set w1 gre "${ENDS[@]}"
	bad_ioctl EINVAL "gre: unicast to multicast" g1 chg protocol=47 \
		saddr=192.0.2.1 daddr=233.252.0.2 name=g1 ttl=1
	bad_ioctl EINVAL "gre: unicast to any" g1 chg protocol=47 \
		saddr=192.0.2.1 name=g1
	bad EINVAL "gre: multicast without a local address" new x gre \
		REMOTE=233.252.0.9
	n0 ip link del m1
	n0 ip link del w1
}

test_duplicates()
{
	bad EEXIST "gre: the same ends and key" new x gre LOCAL=192.0.2.1 \
		REMOTE=192.0.2.2 IFLAGS=0x2000 IKEY=5
	bad EEXIST "ipip: the same ends" new x ipip LOCAL=192.0.2.1 \
		REMOTE=192.0.2.2
	bad EEXIST "gre: changed to the ends of another" set g2 gre \
		LOCAL=192.0.2.1 REMOTE=192.0.2.2 IFLAGS=0x2000 IKEY=5 TTL=33
	bad EEXIST "ipip: changed to the ends of another" set i2 ipip \
		LOCAL=192.0.2.1 REMOTE=192.0.2.2 TTL=33
	bad_ioctl EEXIST "gre: add with the ends of another" gre0 add \
		protocol=47 saddr=192.0.2.1 daddr=192.0.2.2 i_flags=0x2000 \
		i_key=5 name=x
	bad_ioctl EEXIST "ipip: add with the ends of another" tunl0 add \
		protocol=4 saddr=192.0.2.1 daddr=192.0.2.2 name=x
	bad_ioctl EEXIST "gre: change to the ends of another" g2 chg \
		protocol=47 saddr=192.0.2.1 daddr=192.0.2.2 i_flags=0x2000 \
		i_key=5 name=g2 ttl=33
	bad_ioctl EEXIST "ipip: change to the ends of another" i2 chg \
		protocol=4 saddr=192.0.2.1 daddr=192.0.2.2 name=i2 ttl=33
	mute EEXIST "gre: a name that is taken" new i1 gre "${ENDS[@]}"
	mute EEXIST "ipip: a name that is taken" new g1 ipip "${ENDS[@]}"
	bad_ioctl EEXIST "gre: a name that is taken" gre0 add protocol=47 \
		daddr=192.0.2.9 name=i1
	bad_ioctl EEXIST "ipip: a name that is taken" tunl0 add protocol=4 \
		daddr=192.0.2.9 name=g1
}

# What in-tree was changed all the same is made anew.
anew()
{
	n0 ip link del g2
	n0 ip link del i2
	second
}

# What comes late in a change must not leave the early part behind.
test_partial()
{
	differs "R6: ignore-df is applied first" \
		bad EEXIST "gre: duplicate with ignore-df" set g2 gre \
		LOCAL=192.0.2.1 REMOTE=192.0.2.2 IFLAGS=0x2000 IKEY=5 \
		IGNORE_DF=1 PMTUDISC=0
	anew
	differs "R6: encapsulation is applied first" \
		bad EEXIST "gre: duplicate with encapsulation ports" set g2 \
		gre LOCAL=192.0.2.1 REMOTE=192.0.2.2 IFLAGS=0x2000 IKEY=5 \
		ENCAP_TYPE=0 ENCAP_SPORT=7 ENCAP_DPORT=8
	differs "R6: encapsulation is applied first" \
		bad EEXIST "ipip: duplicate with encapsulation ports" set i2 \
		ipip LOCAL=192.0.2.1 REMOTE=192.0.2.2 \
		ENCAP_TYPE=0 ENCAP_SPORT=7 ENCAP_DPORT=8
	anew
	bad EEXIST "gre: duplicate with a new MTU" set g2 gre @MTU=1000 \
		LOCAL=192.0.2.1 REMOTE=192.0.2.2 IFLAGS=0x2000 IKEY=5
	bad EINVAL "gre: multicast with another mark" set g1 gre \
		LOCAL=192.0.2.1 REMOTE=233.252.0.2 FWMARK=99 TTL=1
	bad EINVAL "ipip: multicast with another mark" set i1 ipip \
		LOCAL=192.0.2.1 REMOTE=233.252.0.2 FWMARK=99 TTL=1
}

test_external()
{
	local -A TYPE_OF=([fou]=1 [gue]=2)
	bad EOPNOTSUPP "gre: cannot become external" set g1 gre \
		COLLECT_METADATA=
	bad EINVAL "ipip: cannot become external" set i1 ipip \
		COLLECT_METADATA=
	bad EINVAL "gre: external with encapsulation" new x gre \
		COLLECT_METADATA= ENCAP_TYPE=1 ENCAP_DPORT=5555
	bad EINVAL "gre: unknown encapsulation" new x gre "${ENDS[@]}" \
		ENCAP_TYPE=77
	bad EINVAL "ipip: unknown encapsulation" new x ipip "${ENDS[@]}" \
		ENCAP_TYPE=77
	bad EINVAL "gre: change to unknown encapsulation" set g1 gre \
		LOCAL=192.0.2.1 REMOTE=192.0.2.2 ENCAP_TYPE=77
	# Another test may have left the module
	remove_module fou
	local kind type
	for kind in gre ipip; do
		for type in fou gue; do
			bad EINVAL "$kind: $type" new x $kind \
				REMOTE=192.0.2.9 ENCAP_TYPE="${TYPE_OF[$type]}" ENCAP_DPORT=5555
		done
	done
}

test_link_attributes()
{
	local kind dev
	for kind in gre ipip; do
		dev=${kind:0:1}1
		mute EINVAL "$kind: MTU 67" set "$dev" $kind- @MTU=67
		mute EINVAL "$kind: MTU 0" set "$dev" - @MTU=0
		mute EINVAL "$kind: MTU 65536" set "$dev" - @MTU=65536
		mute EINVAL "$kind: MTU -1" set "$dev" - @MTU=4294967295
		mute EINVAL "$kind: address of 2 bytes" set "$dev" - \
			@ADDRESS=hex:c000
		mute EINVAL "$kind: broadcast of 2 bytes" set "$dev" - \
			@BROADCAST=hex:c000
		mute EINVAL "$kind: negative namespace" new x $kind \
			@LINK_NETNSID=-1 "${ENDS[@]}"
		mute EINVAL "$kind: unknown namespace" new x $kind \
			@LINK_NETNSID=77 "${ENDS[@]}"
		mute EINVAL "$kind: no name at all, but a bad one" \
			new "a/b" $kind "${ENDS[@]}"
	done
	mute EOPNOTSUPP "gre is not ipip" set g1 ipip REMOTE=192.0.2.9
	mute EOPNOTSUPP "ipip is not gre" set i1 gre REMOTE=192.0.2.9
}

test_ioctl_header()
{
	local kind proto dev fallback command field
	while read -r kind proto dev fallback; do
		for field in version=0 version=6 version=15 ihl=4 ihl=6 ihl=0 \
			frag_off=0x2000 frag_off=0x0001 frag_off=0x8000 \
			frag_off=0x6000 protocol=17 protocol=41; do
			bad_ioctl EINVAL "$kind: add with $field" "$fallback" \
				add name=x daddr=192.0.2.9 \
				protocol="$proto" "$field"
			bad_ioctl EINVAL "$kind: change with $field" "$dev" \
				chg name="$dev" daddr=192.0.2.9 \
				protocol="$proto" "$field"
		done
		for command in getprl addprl delprl chgprl get6rd add6rd \
			del6rd chg6rd 0x89fc 0x89ff; do
			bad_ioctl "$(other_ioctl)" "$kind: $command" "$dev" \
				$command protocol="$proto"
		done
		for command in get add chg del; do
			bad_ioctl EFAULT "$kind: $command with a bad pointer" \
				"$fallback" $command pointer=8
		done
		bad_ioctl E2BIG "$kind: add with a bad name" "$fallback" add \
			protocol="$proto" daddr=192.0.2.9 name=a/b
		bad_ioctl EINVAL "$kind: add with two %d" "$fallback" add \
			protocol="$proto" daddr=192.0.2.9 name=%d%d
	done <<-END
		gre 47 g1 gre0
		ipip 4 i1 tunl0
	END
	for field in i_flags=0x4000 i_flags=0x0007 i_flags=0x0001 \
		o_flags=0x4000 o_flags=0x0007 o_flags=0x0002; do
		bad_ioctl EINVAL "gre: add with $field" gre0 add name=x \
			daddr=192.0.2.9 protocol=47 $field
		bad_ioctl EINVAL "gre: change with $field" g1 chg name=g1 \
			daddr=192.0.2.9 protocol=47 $field
	done
	bad_ioctl EINVAL "gre: add with protocol 4" gre0 add name=x protocol=4
	bad_ioctl EINVAL "ipip: add with protocol 47" tunl0 add name=x \
		protocol=47
	bad_ioctl EEXIST "gre: add on a tunnel, not the fallback" g1 add \
		name=g1 protocol=47 daddr=192.0.2.9
}

other_ioctl() { echo EINVAL; }

test_gre_flags
test_gre_unknown_flags
test_lengths
test_ipip_proto
test_ipip_flags
test_df
test_fallback
test_class
test_duplicates
test_partial
test_external
test_link_attributes
test_ioctl_header
finish
