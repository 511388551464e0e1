#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Whatever "iptnl swap" could not carry it refuses, before it touches anything,
# and says in a line what it is. Each obstacle is made, seen, and removed.
#
#	 n0                          n1
#	 t0 ipip, g0 gre, e0 gretap, v0 === v1
. "$(dirname "$0")/lib.sh"

# refuses NAME REGEX [ARG]...: swap (or ARG) ends with 1, a line matches, and
# nothing is different from before; neither does it think otherwise when dry
refuses()
{
	local name=$1 regex=$2
	shift 2
	[ $# -gt 0 ] || set -- swap
	both >"$TMP/was"
	status_is "$name: refused" 1 iptnl "$@"
	said "$name: says what it is" "^iptnl: $regex"
	status_is "$name: refused by --dry-run, too" 1 iptnl "$@" --dry-run
	both >"$TMP/is"
	same "$name: nothing was changed" was is
	check "$name: the modules are the kernel's" whose theirs
	check "$name: ours are not there" test ! -d /sys/module/ip_tunnel_core
}

# both: the links of both namespaces; those of a bridge and its ports ("bridge" in
# their link info) without that, since there are timers in it
both()
{
	{ links n0; links n1; } | sed '/ 18:[0-9a-f]*627269646765/s/ 18:[0-9a-f]*//'
}

# holds MODULE HOLDER: an in-tree user of it
holds()
{
	modprobe "$2"
	refuses "$1 held by $2" "module $1 is held by .*$2.*--keep-held"
}

modprobe -a veth macvlan vxlan bonding dummy bridge fou 8021q
begin_in_tree
new_ns n0 n1
N0=$(ns n0) N1=$(ns n1)
veth_pair n0 v0 192.0.2.1/24 n1 v1 192.0.2.2/24
n0 ip link add t0 type ipip local 192.0.2.1 remote 192.0.2.2
n0 ip link add g0 type gre local 192.0.2.1 remote 192.0.2.2 key 1
n0 ip link add e0 type gretap local 192.0.2.1 remote 192.0.2.2 key 2
n0 ip link set t0 up
n0 ip link set g0 up
n0 ip link set e0 up
n0 ip addr add 198.51.100.1/24 dev t0
status_is "nothing in the way: --dry-run agrees" 0 iptnl swap --dry-run
check "and changes nothing" whose theirs

# ---- modules
holds tunnel4 sit
rmmod sit
holds gre ip6_gre
status_is "--keep-held: swap" 0 iptnl swap --keep-held
said "--keep-held: says what it keeps" '^keep in-tree: gre, held by ip6_gre$'
check "gre is the kernel's" test ! -e /sys/module/gre/version
check "ip_gre is ours" is_ours ip_gre
status_is "--keep-held: restore" 0 iptnl restore
check "ip_gre is the kernel's again" whose theirs
rmmod ip6_gre ip6_tunnel tunnel6

# ---- devices on top
n0 ip link add link e0 name e0.5 type vlan id 5
refuses "a VLAN on a tunnel" "e0 in $N0: e0.5 \(vlan\) in $N0 is on top"
n0 ip link del e0.5
n0 ip link add link e0 name mac type macvlan
n0 ip link set mac netns "$N1"
refuses "a macvlan in another namespace" "e0 in $N0: mac \(macvlan\) in $N1 is on top"
n1 ip link del mac
n0 ip link add vx type vxlan id 9 dstport 4789 dev g0 group 239.1.1.1
refuses "a vxlan over a tunnel" "g0 in $N0: vx \(vxlan\) in $N0 is on top"
n0 ip link del vx
n0 ip link add bo type bond
n0 ip link set e0 down
n0 ip link set e0 master bo
refuses "a port of a bond" "e0 in $N0: is a port of bo \(bond\)"
n0 ip link del bo
n0 ip link set e0 up

# ---- traffic control
n0 tc qdisc add dev g0 root netem delay 1ms
refuses "a qdisc" "g0 in $N0: has a qdisc netem"
n0 tc qdisc del dev g0 root
n0 tc qdisc add dev t0 clsact
n0 tc filter add dev t0 ingress matchall action drop
refuses "a filter" "t0 in $N0: has a qdisc clsact"
n0 tc qdisc del dev t0 clsact
n0 tc qdisc add dev v0 clsact
n0 tc filter add dev v0 ingress matchall action mirred egress redirect dev g0
refuses "an action that sends to a tunnel" "g0 in $N0: tc action mirred index [0-9]+ sends to it"
n0 tc qdisc del dev v0 clsact

# ---- BPF
python3 "$SWAP_DIR/xdp.py" "$N0" e0 on
refuses "an XDP program" "e0 in $N0: has an XDP program"
python3 "$SWAP_DIR/xdp.py" "$N0" e0 off
if [ "$SERIES" != 6.1 ]; then
	# It is attached as long as the program runs that attached it.
	bg n0 python3 "$SWAP_DIR/xdp.py" "$N0" g0 tcx
	wait_for grep -q attached "$BG_OUT"
	refuses "a tcx program" "g0 in $N0: has a BPF program at tcx ingress"
	bg_stop "$BG"
fi

# ---- nftables
n0 nft 'add table netdev x; add chain netdev x y { type filter hook ingress device g0 priority 0; }'
refuses "an nftables ingress hook" "g0 in $N0: nftables chain x y is on it"
n0 nft delete table netdev x
n0 nft 'add table ip x; add flowtable ip x f { hook ingress priority 0; devices = { v0, t0 }; }'
refuses "an nftables flowtable" "t0 in $N0: nftables flowtable x f is on it"
n0 nft delete table ip x

# ---- multicast routing: as long as the program runs
bg n0 python3 "$SWAP_DIR/mroute.py" g0
wait_for grep -q there "$BG_OUT"
refuses "an interface of multicast routing" "g0 in $N0: is an interface of multicast routing"
bg_stop "$BG"

# ---- bridges
n0 ip link add br0 type bridge mcast_snooping 1 vlan_filtering 1
n0 ip link set br0 up
n0 ip link set e0 master br0
n0 bridge mdb add dev br0 port e0 grp 239.1.1.2 permanent
refuses "a permanent group of the bridge" "e0 in $N0: has a permanent group of its bridge"
n0 bridge mdb del dev br0 port e0 grp 239.1.1.2 permanent
n0 bridge vlan set dev e0 vid 1 state blocking
refuses "options of a VLAN" "e0 in $N0: has options of single VLANs"
n0 bridge vlan set dev e0 vid 1 state forwarding
n0 ip link add d0 type dummy
n0 ip link set d0 master br0
n0 ip link set d0 type bridge_slave backup_port e0
refuses "the backup of another port" "e0 in $N0: is the backup port of d0"
n0 ip link del d0
n0 ip link del br0

# ---- fallback devices
n1 ip link set tunl0 name other
refuses "a renamed fallback device" "other in $N1: is the renamed tunl0"
n1 ip link set other name tunl0
n1 ip tunnel change gre0 tos 0x10
refuses "a changed fallback device" "gre0 in $N1: has parameters from 'ip tunnel change'"
n1 ip tunnel change gre0 tos 0
sysctl -qw net.core.fb_tunnels_only_for_init_net=1
refuses "a fallback device that would not come back" "gre0 in $N0: would not come back while"
ip netns add "$(ns bare)"
defer ip netns del "$(ns bare)"
ip -n "$(ns bare)" link add gre0 type veth
sysctl -qw net.core.fb_tunnels_only_for_init_net=0
refuses "a device in the place of a fallback device" "gre0 in $(ns bare): has the name of a fallback device"
ip netns del "$(ns bare)"

# ---- what cannot be made again
n0 ip fou add port 5555 ipproto 4
n0 ip link add f0 type ipip local 192.0.2.1 remote 192.0.2.9 encap fou encap-sport auto encap-dport 5555
n0 ip fou del port 5555
rmmod fou
refuses "encapsulation whose module is gone" "f0 in $N0: cannot be made again"
n0 ip link del f0

# ---- files
mv "$OURS_DIR/ip_gre.ko" "$OURS_DIR/ip_gre.away"
refuses "a module that is not installed" "module ip_gre of iptnl is not installed for kernel $(quote "$(uname -r)"); 'dkms status iptnl' names"
sed "s/vermagic=$(uname -r)/vermagic=9.9.9$(uname -r | cut -c6-)/" "$OURS_DIR/ip_gre.away" >"$OURS_DIR/ip_gre.ko"
refuses "a module of another kernel" "$(quote "$OURS_DIR")/ip_gre.ko: made for kernel 9.9.9"
echo nonsense >"$OURS_DIR/ip_gre.ko"
refuses "a file that is no module" "$(quote "$OURS_DIR")/ip_gre.ko: not a module"
mv "$OURS_DIR/ip_gre.away" "$OURS_DIR/ip_gre.ko"
for file in "$KERNEL_DIR/ip_gre.ko"*; do
	mv "$file" "$TMP/"
	refuses "no way back" "module ip_gre \(in-tree\) could not be loaded again"
	mv "$TMP/$(basename "$file")" "$file"
done

# ---- who asks, and where
status_is "not root: refused" 1 setpriv --reuid 65534 --clear-groups "$IPTNL" swap
status_is "without the right to enter namespaces: refused" 1 \
	capsh --drop=cap_sys_admin -- -c "$IPTNL swap >$TMP/said 2>&1"
said "without the right to enter: says so" '^iptnl: network namespace .* cannot be entered: '
status_is "in a process namespace: refused" 1 unshare -pf --mount-proc "$IPTNL" swap
exec 9>/run/iptnl/lock
flock 9
refuses "another one running" "another iptnl is running"
exec 9>&-
echo '{}' >/run/iptnl/state.json
refuses "after one that was killed" "an earlier run was interrupted"
rm /run/iptnl/state.json

status_is "with nothing in the way it works" 0 iptnl swap
check "the modules are ours" whose ours
status_is "and back" 0 iptnl restore

finish
