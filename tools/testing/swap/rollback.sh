#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# A swap that fails on its way leaves everything as it was; one that is killed
# on its way is finished by "iptnl recover"; one that is interrupted ends first.
#
#	 n0                             n1
#	 16 tunnels, v0 192.0.2.1 === .2 v1, 16 tunnels
. "$(dirname "$0")/lib.sh"

# side NS NUMBER
side()
{
	local n=$2 far=$((3 - $2)) i
	for i in 0 1 2 3 4 5; do
		echo "link add i$i type ipip local 192.0.2.$((n + 4 * i)) remote 192.0.2.$((far + 4 * i)) ttl 64"
		echo "addr add 192.0.2.$((n + 4 * i))/24 dev v0"
	done
	for i in 0 1 2 3 4; do
		echo "link add g$i type gre local 192.0.2.$n remote 192.0.2.$far key $i"
		echo "link add e$i type gretap local 192.0.2.$n remote 192.0.2.$far key 10$i"
	done
	for i in i0 i1 i2 i3 i4 i5 g0 g1 g2 g3 g4 e0 e1 e2 e3 e4; do
		echo "link set $i up"
	done
	echo "addr add 203.0.113.$n/30 dev i0"
	echo "addr add 203.0.113.$((4 + n))/30 dev g0"
	echo "addr add 203.0.113.$((8 + n))/30 dev e0"
	echo "route add 198.51.100.0/24 via 203.0.113.$((4 + far))"
}

works()
{
	ping_ok n0 203.0.113.2 && ping_ok n0 203.0.113.6 && ping_ok n0 203.0.113.10
}

# as_before NAME SIDE: nothing is different, the modules are SIDE's
as_before()
{
	picture after "$N0" "$N1"
	same "$1: everything is as before" before after
	check "$1: the modules are $2" whose "$2"
	check "$1: traffic passes" works
	check "$1: nothing is left in /run" test ! -e /run/iptnl/state.json
}

# killed CONDITION COMMAND: run it and kill it with SIGKILL as soon as CONDITION
# (Python, see below) holds; whatever is there then, "recover" ends it
killed()
{
	local name="$2 killed when $1" rc=0
	python3 - "$1" "$IPTNL" "$2" >"$TMP/killed" 2>&1 <<-'END' || rc=$?
		import os, signal, subprocess, sys
		def loaded(name):
		    return os.path.exists("/sys/module/%s/initstate" % name)
		def ours(name):
		    try:
		        return loaded(name) and "O" in open("/sys/module/%s/taint" % name).read()
		    except OSError:
		        return False
		def saved():
		    return os.path.exists("/run/iptnl/state.json")
		def tunnels():
		    return sum(1 for line in open("/proc/net/dev") if line.split(":")[0].strip()[:1] in "ige")
		condition = compile(sys.argv[1], "condition", "eval")
		process = subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
		while process.poll() is None:
		    if eval(condition):
		        process.send_signal(signal.SIGKILL)
		        break
		sys.exit(0 if process.wait() == -signal.SIGKILL else 1)
	END
	if [ $rc != 0 ]; then
		not_ok "$name" "it was too quick" "$(cat "$TMP/killed")"
		return 0
	fi
	ok "$name"
	check "$name: it has left what recover needs" test -s /run/iptnl/state.json
	status_is "$name: another swap is refused" 1 iptnl swap
	status_is "$name: recover" 0 iptnl recover
	diag "$(tail -n 1 "$TMP/said")"
	if whose theirs; then
		as_before "$name" theirs
	else
		as_before "$name" ours
		status_is "$name: restore afterwards" 0 iptnl restore
	fi
	as_before "$name, in the end" theirs
}

# iptnl_interrupted: swap, with SIGINT, SIGTERM and SIGHUP on the way
iptnl_interrupted()
{
	local pid rc=0
	"$IPTNL" swap >"$TMP/said" 2>&1 </dev/null &
	pid=$!
	wait_for test -e /run/iptnl/state.json
	while kill -0 "$pid" 2>/dev/null && [ -e /run/iptnl/state.json ]; do
		kill -INT "$pid" 2>/dev/null || :
		kill -TERM "$pid" 2>/dev/null || :
		kill -HUP "$pid" 2>/dev/null || :
	done
	wait "$pid" || rc=$?
	return "$rc"
}

modprobe dummy
begin_in_tree
new_ns n0 n1
N0=$(ns n0) N1=$(ns n1)
veth_pair n0 v0 - n1 v0 -
side n0 1 | n0 ip -batch -
side n1 2 | n1 ip -batch -
for one in n0 n1; do
	in_ns "$one" ip link set v0 arp on
done
check "traffic passes to begin with" works
picture before "$N0" "$N1"

# ---- a module of ours that does not load: it makes one device's name twice
cp "$OURS_DIR/ip_gre.ko" "$TMP/ip_gre.ko"
python3 - "$OURS_DIR/ip_gre.ko" <<'END'
import sys
data = open(sys.argv[1], "rb").read()
assert b"\0erspan0\0" in data
open(sys.argv[1], "wb").write(data.replace(b"\0erspan0\0", b"\0gretap0\0"))
END
status_is "a module that does not load: rolled back" 3 iptnl swap
said "a module that does not load: says which" "^failed: cannot load $(quote "$OURS_DIR")/ip_gre.ko: "
said "a module that does not load: says that all is as before" '^32 tunnels in 2 namespaces are as before, interruption [0-9]+ ms$'
as_before "a module that does not load" theirs
check "ip_tunnel_core is not left" test ! -d /sys/module/ip_tunnel_core
cp "$TMP/ip_gre.ko" "$OURS_DIR/ip_gre.ko"

# ---- a tunnel that cannot be made: somebody takes its name meanwhile, and gives
# it up when ours are gone again
bg n0 python3 "$SWAP_DIR/squatter.py" g3 leave
wait_for grep -q waiting "$BG_OUT"
status_is "a name that is taken: rolled back" 3 iptnl swap
said "a name that is taken: which" "^failed: g3 in $N0: File exists"
as_before "a name that is taken" theirs
wait "$BG" || :

# ---- and does not: nothing can bring that one back, but all the others are
bg n0 python3 "$SWAP_DIR/squatter.py" g3 stay
wait_for grep -q waiting "$BG_OUT"
status_is "a name that stays taken: not all could be restored" 4 iptnl swap
said "a name that stays taken: which" "^failed: g3 in $N0: File exists"
said "a name that stays taken: says what to do" "'iptnl recover' tries again\$"
check "a name that stays taken: the modules are the kernel's" whose theirs
check "a name that stays taken: the others pass traffic" works
wait "$BG" || :
status_is "a name that stays taken: recover" 4 iptnl recover
n0 ip link del g3
status_is "a name that was given up: recover" 0 iptnl recover
as_before "a name that was given up" theirs

# ---- killed
killed "saved()" swap
killed "saved() and not loaded('ip_gre')" swap
killed "saved() and not loaded('ipip')" swap
killed "ours('tunnel4')" swap
killed "ours('ip_gre')" swap
status_is "swap, to kill the way back" 0 iptnl swap
killed "saved() and not loaded('tunnel4')" restore

# ---- interrupted: by a signal that has to wait
status_is "interrupted on the way: it ends first" 0 iptnl_interrupted
said "interrupted on the way: carried over" '^32 tunnels in 2 namespaces carried over'
check "interrupted on the way: ours are in" whose ours
as_before "interrupted on the way" ours
status_is "nothing to recover" 0 iptnl recover
said "nothing to recover: says so" '^nothing to recover$'

finish
