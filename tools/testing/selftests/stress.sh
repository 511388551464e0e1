#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tunnels are made, changed, renamed, taken up and down and deleted while
# packets go through them; the two that nobody touches lose nothing.
#
#	   n1                      n2
#	   | v1 192.0.2.1          | v2 192.0.2.2
#	   '-----------------------'
#	   stay0 === gre key 1 === stay0	198.51.100.1, 198.51.100.2
#	   stay1 ===== ipip ====== stay1	198.51.100.5, 198.51.100.6
#	   c0 .. c5, now and then		203.0.113.x

. "$(dirname "$0")/lib.sh"
need_modules ip_gre ipip
new_ns n1 n2
veth_pair n1 v1 192.0.2.1/24 n2 v2 192.0.2.2/24
for n in n1 n2; do
	own=${n#n} peer=$((3 - ${n#n}))
	$n ip link add stay0 type gre local 192.0.2."$own" \
		remote 192.0.2.$peer key 1
	$n ip link add stay1 type ipip local 192.0.2."$own" remote 192.0.2.$peer
	for i in 0 1; do
		$n ip link set stay$i up
		$n ip addr add 198.51.100.$((own + 4 * i)) \
			peer 198.51.100.$((peer + 4 * i)) dev stay$i
	done
done

# churn NS SEED
churn()
{
	wire "$1" "$2" <<'END'
import random
import sys
from wire import *

choose = random.Random(int(sys.argv[1]))
OWN, PEER = sys.argv[1], str(3 - int(sys.argv[1]))
ENDS = f"local 192.0.2.{OWN} remote 192.0.2.{PEER}"


def gre_options():
    return f"type gre {ENDS} key {choose.randrange(2, 5)} " + " ".join(
        choose.sample(("csum", "seq", "ttl 64", "tos inherit", "icsum",
                       "oseq"), 2))


def ipip_options():
    return f"type ipip local 192.0.2.{OWN} " \
        f"remote 192.0.2.{choose.randrange(10, 13)} mode any"


OPERATIONS = [
    lambda d: f"link add {d} {gre_options()}",
    lambda d: f"link add {d} {gre_options()}",
    lambda d: f"link add {d} {ipip_options()}",
    lambda d: f"link change {d} {gre_options()}",
    lambda d: f"link change {d} {gre_options()}",
    lambda d: f"link change {d} {ipip_options()}",
    lambda d: f"link set {d} up",
    lambda d: f"link set {d} up",
    lambda d: f"link set {d} down",
    lambda d: f"link set {d} mtu {choose.randrange(500, 1500)}",
    lambda d: f"link set {d} name c{choose.randrange(6)}",
    lambda d: f"addr add 203.0.113.{OWN} peer 203.0.113.{PEER} dev {d}",
    lambda d: f"addr flush dev {d}",
    lambda d: f"addr add 192.0.2.{choose.randrange(100, 110)}/32 dev v{OWN}",
    lambda d: f"addr del 192.0.2.{choose.randrange(100, 110)}/32 dev v{OWN}",
    lambda d: f"route replace 203.0.113.{PEER} dev {d}",
    lambda d: f"link del {d}",
]
# Ten seconds at least, and sixty operations however slow they are.
end, done = time.monotonic() + 10, 0
while time.monotonic() < end or done < 60:
    run_ip(*(choose.choice(OPERATIONS)(f"c{choose.randrange(6)}")
             for _ in range(10)), force=True)
    done += 10
note(f"{done} operations")
END
}

packets()	# NS ADDRESS
{
	while :; do
		in_ns "$1" ping -n -q -i 0.002 -c 1000 -W 1 "$2" || sleep 0.1
	done
}

for n in n1 n2; do
	stats_save $n stay0
	stats_save $n stay1
	bg packets $n 203.0.113.$((3 - ${n#n}))
done
churn n1 1 >"$TMP/churn.1" 2>&1 &
pids=$!
churn n2 2 >"$TMP/churn.2" 2>&1 &
pids+=" $!"

SIZE=500
count=0
# shellcheck disable=SC2086
while kill -0 $pids 2>/dev/null; do
	for i in 0 1; do
		python3 "$HERE/xfer.py" udp "$(ns n1)" "$(ns n2)" \
			198.51.100.$((2 + 4 * i)) 100 $SIZE >>"$TMP/lost" 2>&1 || :
	done
	count=$((count + 100))
done
# shellcheck disable=SC2086
check "the churning runs to its end" wait $pids
diag_file "$TMP/churn.1"
diag_file "$TMP/churn.2"
expect_eq "not a datagram is lost or changed" "" "$(cat "$TMP/lost")"
for i in 0 1; do
	expect_stats "stay$i: n1 has sent each" n1 stay$i \
		tx_packets=$count tx_bytes=$((count * (SIZE + 28)))
	expect_stats "stay$i: n2 has received each" n2 stay$i \
		rx_packets=$count rx_bytes=$((count * (SIZE + 28)))
done
finish
