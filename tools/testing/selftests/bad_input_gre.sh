#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What gretap, erspan and external devices refuse, they refuse with a reason,
# and it has changed nothing and made nothing. (gre and ipip: bad_input.sh)
#
#	n0	d0 192.0.2.1, a dummy
#		t1, t2  gretap		e1, e2  erspan

. "$(dirname "$0")/lib.sh"
need_modules ip_gre ipip
modprobe -a dummy fou
new_ns n0
n0 ip link add d0 type dummy
n0 ip addr add 192.0.2.1/24 dev d0
n0 ip link set d0 up
wire n0 <<'END'
from wire import *

for n in (1, 2):
    run_ip(f"link add t{n} type gretap local 192.0.2.1 remote 192.0.2.{n + 1} "
           "key 5 ttl 9",
           f"link add e{n} type erspan local 192.0.2.1 remote 192.0.2.{n + 1} "
           "seq key 5 erspan_ver 1 erspan 7 ttl 9")
END

ENDS=(LOCAL=192.0.2.1 REMOTE=192.0.2.9)
SESSION=(IFLAGS=0x3000 OFLAGS=0x3000 IKEY=5 OKEY=5)

# both ERRNO NAME KIND ATTRIBUTE...: to make one, and to change one, which
# in-tree drivers may have changed in part before they refuse
both()
{
	local kind=$3 dev=t1
	[ "$kind" != erspan ] || dev=e1
	bad "$1" "$kind: new with $2" new x "$kind" "${ENDS[@]}" "${@:4}"
	differs "changes some of it all the same" \
		bad "$1" "$kind: set with $2" set $dev "$kind" LOCAL=192.0.2.1 \
		REMOTE=192.0.2.2 "${@:4}"
}

# restore: as they were
restore()
{
	nl n0 set t1 gretap LOCAL=192.0.2.1 REMOTE=192.0.2.2 IFLAGS=0x2000 \
		OFLAGS=0x2000 IKEY=5 OKEY=5 TTL=9
	nl n0 set e1 erspan LOCAL=192.0.2.1 REMOTE=192.0.2.2 "${SESSION[@]}" \
		ERSPAN_VER=1 ERSPAN_INDEX=7 TTL=9
}

test_flags()
{
	local bit side kind
	for bit in 0x0001 0x0007 0x4000; do
		for side in IFLAGS OFLAGS; do
			for kind in gretap erspan; do
				both EINVAL "$side $bit" $kind "${SESSION[@]}" \
					$side=$((0x3000 | bit))
			done
		done
	done
}

test_lengths()
{
	local kind attribute
	for kind in gretap erspan; do
		for attribute in LINK=hex:01 IFLAGS=hex:20 OFLAGS=hex:20 \
			IKEY=hex:0000 OKEY=hex:00 LOCAL=hex:c000 \
			REMOTE=hex:c00002 TTL=hex: TOS=hex: PMTUDISC=hex: \
			ENCAP_TYPE=hex:00 ENCAP_FLAGS=hex:00 \
			ENCAP_SPORT=hex:00 ENCAP_DPORT=hex:00 IGNORE_DF=hex: \
			FWMARK=hex:0102 ERSPAN_VER=hex: ERSPAN_INDEX=hex:0000 \
			ERSPAN_DIR=hex: ERSPAN_HWID=hex:00; do
			both ERANGE "short $attribute" $kind "${SESSION[@]}" \
				$attribute
		done
		both ERANGE "a flag that has a value" $kind "${SESSION[@]}" \
			COLLECT_METADATA=hex:00
	done
}

test_address()
{
	local kind address
	for kind in gretap erspan; do
		for address in 010000000001 ffffffffffff 000000000000; do
			mute EADDRNOTAVAIL "$kind: address $address" new x \
				$kind "${ENDS[@]}" "${SESSION[@]}" \
				@ADDRESS=hex:$address
		done
		mute EINVAL "$kind: an address of 4 bytes" new x $kind \
			"${ENDS[@]}" "${SESSION[@]}" @ADDRESS=hex:c0000201
		both EINVAL "a remote of zeros" $kind "${SESSION[@]}" \
			REMOTE=0.0.0.0
	done
}

test_df()
{
	local kind
	for kind in gretap erspan; do
		both EINVAL "DF looked at and not" $kind "${SESSION[@]}" \
			IGNORE_DF=1 PMTUDISC=1
		both EINVAL "DF looked at by default, and not" $kind \
			"${SESSION[@]}" IGNORE_DF=1
	done
}

test_mtu()
{
	local kind dev mtu
	while read -r kind dev mtu; do
		for mtu in 0 67 $((mtu + 1)) 65535 65536 4294967295; do
			mute EINVAL "$kind: MTU $mtu" set "$dev" - @MTU="$mtu"
		done
	done <<-END
		gretap t1 65493
		erspan e1 65485
	END
}

test_duplicates()
{
	bad EEXIST "gretap: the ends and key of t1" new x gretap \
		LOCAL=192.0.2.1 REMOTE=192.0.2.2 IFLAGS=0x2000 OFLAGS=0x2000 \
		IKEY=5 OKEY=5
	bad EEXIST "gretap: set to the ends and key of t1" set t2 gretap \
		LOCAL=192.0.2.1 REMOTE=192.0.2.2 IFLAGS=0x2000 OFLAGS=0x2000 \
		IKEY=5 OKEY=5
	bad EEXIST "erspan: the ends and session of e1" new x erspan \
		LOCAL=192.0.2.1 REMOTE=192.0.2.2 "${SESSION[@]}"
	bad EEXIST "erspan: set to the ends and session of e1" set e2 erspan \
		LOCAL=192.0.2.1 REMOTE=192.0.2.2 "${SESSION[@]}"
	check "gre with the ends and key of a gretap" nl n0 new x gre \
		LOCAL=192.0.2.1 REMOTE=192.0.2.2 IFLAGS=0x2000 OFLAGS=0x2000 \
		IKEY=5 OKEY=5
	drop_x
}

test_fallback()
{
	local dev kind
	while read -r dev kind; do
		bad EINVAL "$dev: cannot be changed" set "$dev" "$kind" \
			"${ENDS[@]}" "${SESSION[@]}"
		check_fails "$dev: cannot be deleted all the same" \
			sh -c "ip -n $(ns n0) link del $dev && ! ip -n $(ns n0) \
			link show dev $dev"
		check "$dev is there still" has_dev n0 "$dev"
		refuse -n n0 "$dev: cannot be moved" '.' n0 ip link set "$dev" \
			netns 1
	done <<-END
		gretap0 gretap
		erspan0 erspan
	END
}

test_external()
{
	local dev kind
	for kind in gre gretap erspan; do
		bad EINVAL "$kind: external with encapsulation" new x $kind \
			COLLECT_METADATA= ENCAP_TYPE=1 ENCAP_DPORT=5555
		check "$kind: external with an encapsulation of none" nl n0 \
			new x $kind COLLECT_METADATA= ENCAP_TYPE=0
		drop_x
	done
	while read -r dev kind; do
		bad EOPNOTSUPP "$kind: becomes external" set "$dev" "$kind" \
			LOCAL=192.0.2.1 REMOTE=192.0.2.2 "${SESSION[@]}" \
			COLLECT_METADATA=
	done <<-END
		t1 gretap
		e1 erspan
	END
}

test_other_kind()
{
	mute EOPNOTSUPP "gretap is not erspan" set t1 erspan "${SESSION[@]}"
	mute EOPNOTSUPP "erspan is not gretap" set e1 gretap
	mute EOPNOTSUPP "gretap is not gre" set t1 gre
}

test_ioctl()
{
	local dev command
	for dev in t1 e1 gretap0 erspan0; do
		for command in get add chg del; do
			refuse -n n0 "$dev: ioctl $command: EOPNOTSUPP" \
				'^EOPNOTSUPP$' tunctl n0 $dev $command name=$dev \
				protocol=47 daddr=192.0.2.9
		done
	done
}

test_flags
restore
test_lengths
test_address
test_df
restore
test_mtu
test_duplicates
test_fallback
test_external
test_other_kind
test_ioctl
finish
