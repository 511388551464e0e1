#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Who may do what: the root of a user namespace may do as he likes with tunnels
# of his own network namespaces, and nothing to those whose underlay is in
# another's; without privilege one may look.
#
#	u0 (a user namespace's)   t1, t2: made in n0, moved to u0
#	   :
#	n0 (the first user namespace's)
#	  v0 192.0.2.1 ------------ v1 192.0.2.2   n1

. "$(dirname "$0")/lib.sh"

need_modules
new_ns n0 n1
veth_pair n0 v0 192.0.2.1/24 n1 v1 192.0.2.2/24

# A process that holds a new user and network namespace; u0 is its name for us.
unshare --user --map-root-user --net sleep 100000 &
HOLDER=$!
defer kill -KILL $HOLDER
wait_for sh -c "[ \"\$(readlink /proc/$HOLDER/ns/net)\" != \
	\"\$(readlink /proc/$$/ns/net)\" ] &&
	grep -q ' 0 ' /proc/$HOLDER/uid_map"
defer ip netns del "$(ns u0)"
ip netns attach "$(ns u0)" $HOLDER

u0() { in_ns u0 "$@"; }

# as_user COMMAND...: as root of the user namespace, in u0
as_user()
{
	nsenter --target $HOLDER --user --net --preserve-credentials "$@"
}

# as_nobody NS COMMAND...
as_nobody()
{
	local in=$1
	shift
	ip netns exec "$(ns "$in")" setpriv --reuid=65534 --regid=65534 \
		--clear-groups --inh-caps=-all "$@"
}

# user_ioctl DEV COMMAND FIELD=VALUE...
user_ioctl()
{
	as_user python3 "$HERE/tunctl.py" - "$@"
}

PERM='not permitted|^EPERM'

test_own()
{
	local kind fallback proto
	while read -r kind fallback proto; do
		check "$kind: the user's $fallback is there" has_dev u0 \
			"$fallback"
		check "$kind: the user makes one by netlink" as_user \
			ip link add x1 type "$kind" \
			local 192.0.2.1 remote 192.0.2.2
		check "$kind: and changes it" as_user ip link set x1 \
			type "$kind" local 192.0.2.1 remote 192.0.2.3
		check "$kind: and makes one by ioctl" as_user \
			ip tunnel add x2 mode "$kind" \
			local 192.0.2.1 remote 192.0.2.2
		check "$kind: and changes it" as_user ip tunnel change x2 \
			mode "$kind" local 192.0.2.1 remote 192.0.2.4
		check "$kind: and looks at it" user_ioctl x2 get
		check "$kind: and brings it up" as_user ip link set x2 up
		check "$kind: and deletes it" as_user ip tunnel del x2
		check "$kind: and the other" as_user ip link del x1
		check "$kind: both gone" no_dev u0 x1
		check "$kind: both gone" no_dev u0 x2
	done <<-END
		ipip tunl0 4
		gre gre0 47
	END
}

test_moved()
{
	local kind=$1 proto=$2
	n0 ip link add t1 type "$kind" local 192.0.2.1 remote 192.0.2.2 ttl 9
	n0 ip link add t2 type "$kind" local 192.0.2.1 remote 192.0.2.3 ttl 9
	n0 ip link set t1 netns "$(ns u0)"
	n0 ip link set t2 netns "$(ns u0)"
	check "$kind: the user sees it" as_user ip -d link show t1
	check "$kind: the user may bring it up" as_user ip link set t1 up
	check "$kind: and give it an address" as_user ip addr add \
		198.51.100.1/24 dev t1
	check "$kind: and another MTU" as_user ip link set t1 mtu 1300
	refuse -n u0 "$kind: but not change its ends" "$PERM" as_user \
		ip link set t1 type "$kind" \
		local 192.0.2.1 remote 192.0.2.9
	refuse -n u0 "$kind: nor anything else" "$PERM" as_user \
		ip link set t1 type "$kind" \
		local 192.0.2.1 remote 192.0.2.2 ttl 10
	refuse -n u0 "$kind: nor do so by ioctl" "$PERM" user_ioctl t1 chg \
		name=t1 protocol="$proto" saddr=192.0.2.1 daddr=192.0.2.9
	refuse -n u0 "$kind: nor change t2 through t1" "$PERM" user_ioctl t1 \
		chg name=t2 protocol="$proto" saddr=192.0.2.1 daddr=192.0.2.9
	refuse -n u0 "$kind: nor delete it by ioctl" "$PERM" user_ioctl t1 \
		del name=t1 protocol="$proto" saddr=192.0.2.1 daddr=192.0.2.2
	refuse -n n0 "$kind: nor make one in n0 through it" "$PERM" \
		user_ioctl t1 add name=t3 protocol="$proto" daddr=192.0.2.9
	refuse -n u0 "$kind: nor in u0" "$PERM" \
		user_ioctl t1 add name=t3 protocol="$proto" daddr=192.0.2.9
	check "$kind: the user may look at it" user_ioctl t1 get
	expect_match "$kind: and sees it" 'name=t1 .* daddr=192.0.2.2$' \
		"$(user_ioctl t1 get)"
	refuse -n u0 "$kind: and make none with n0 as underlay" "$PERM" \
		as_user ip link add t3 link-netnsid "$(netnsid)" \
		type "$kind" local 192.0.2.1 remote 192.0.2.9
	check "$kind: root in u0 may change it" u0 ip link set t1 \
		type "$kind" local 192.0.2.1 remote 192.0.2.9
	check "$kind: root in u0 may change it by ioctl" tunctl u0 t1 chg \
		name=t1 protocol="$proto" saddr=192.0.2.1 daddr=192.0.2.8
	check "$kind: the user may delete the device he was given" \
		as_user ip link del t1
	check "$kind: root may by ioctl" tunctl u0 t2 del \
		name=t2 protocol="$proto" saddr=192.0.2.1 daddr=192.0.2.3
	check "$kind: both gone" no_dev u0 t1
	check "$kind: both gone" no_dev u0 t2
}

# The number by which u0 knows n0
netnsid()
{
	local id
	id=$(links u0 t1)
	id=${id##* 37:}
	echo "$((0x${id:0:2}))"
}

test_nobody()
{
	local kind=$1 proto=$2 fallback=$3
	n0 ip link add t1 type "$kind" local 192.0.2.1 remote 192.0.2.2
	refuse -n n0 "$kind: nobody may make one" "$PERM" as_nobody n0 \
		ip link add t3 type "$kind" remote 192.0.2.9
	refuse -n n0 "$kind: nor by ioctl" "$PERM" as_nobody n0 \
		ip tunnel add t3 mode "$kind" remote 192.0.2.9
	refuse -n n0 "$kind: nor change one" "$PERM" as_nobody n0 \
		ip link set t1 type "$kind" remote 192.0.2.9
	refuse -n n0 "$kind: nor by ioctl" "$PERM" as_nobody n0 \
		ip tunnel change t1 mode "$kind" remote 192.0.2.9
	refuse -n n0 "$kind: nor delete one" "$PERM" as_nobody n0 \
		ip link del t1
	refuse -n n0 "$kind: nor by ioctl" "$PERM" as_nobody n0 \
		ip tunnel del t1
	refuse -n n0 "$kind: nor through $fallback" "$PERM" as_nobody n0 \
		python3 "$HERE/tunctl.py" - "$fallback" del \
		protocol="$proto" saddr=192.0.2.1 daddr=192.0.2.2
	check "$kind: nobody may look by netlink" as_nobody n0 \
		ip -d link show t1
	check "$kind: nobody may look by ioctl" as_nobody n0 \
		python3 "$HERE/tunctl.py" - t1 get
	n0 ip link del t1
}

# A user namespace inside the user's: even less
test_inner()
{
	local kind=$1
	check "$kind: in a namespace within the namespace" as_user \
		unshare --user --map-root-user --net sh -ec "
		ip link add x1 type $kind local 192.0.2.1 remote 192.0.2.2
		ip link set x1 up
		ip tunnel change x1 mode $kind local 192.0.2.1 \
			remote 192.0.2.3
		ip link del x1"
}

test_own
test_moved ipip 4
test_moved gre 47
test_nobody ipip 4 tunl0
test_nobody gre 47 gre0
test_inner ipip
test_inner gre
finish
