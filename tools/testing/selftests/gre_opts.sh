#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Key, checksum and sequence number: in every combination and direction between
# two kernels, the bytes on the wire, and what is refused and counted.
#
#	   n1                          n2	64 tunnels, one for each pair of
#	   | v1 192.0.2.1 ...          | v2	(input, output) options
#	   '---------------------------' 192.0.2.101 ...
#
#	   the test (192.0.2.x)
#	          | u0, a tun device
#	   n0: 192.0.2.1
#	       one tunnel for each set of options

. "$(dirname "$0")/lib.sh"
need_modules ip_gre
new_ns n0 n1 n2
veth_pair n1 v1 - n2 v2 -

# ---------------------------------------------- between two kernels

# tunnels NS DEV OWN PEER SWAP: OWN and PEER are the last bytes of the first
# addresses, SWAP says whether input and output options change places.
tunnels()
{
	wire "$@" <<'END'
import sys
from wire import *

dev, own, peer, swap = sys.argv[1], *map(int, sys.argv[2:])


def options(way, bits, key):
    return " ".join([f"{way}key {key}"] * (bits & 1) +
                    [f"{way}csum"] * (bits >> 1 & 1) +
                    [f"{way}seq"] * (bits >> 2))


lines = []
for n in range(64):
    ways = [options(way, n >> shift & 7, n + key) for way, shift, key in (
        ("oi"[swap ^ 1], 3, 1), ("oi"[swap], 0, 101))]
    lines += [f"addr add 192.0.2.{own + n}/32 dev {dev}",
              f"route add 192.0.2.{peer + n}/32 dev {dev} "
              f"src 192.0.2.{own + n}",
              f"link add g{n} type gre local 192.0.2.{own + n} "
              f"remote 192.0.2.{peer + n} " + " ".join(ways),
              f"link set g{n} up",
              f"addr add 198.51.100.{own + n} peer 198.51.100.{peer + n} "
              f"dev g{n}"]
run_ip(*lines)
END
}

tunnels n1 v1 1 101 0
tunnels n2 v2 101 1 1
wire n1 "$(ns n1)" <<'END'
import sys
from wire import *

n1 = Ns(sys.argv[1])
expect("64 pairs of options: each echo is answered", [2] * 64,
       [n1.echo(f"198.51.100.{101 + n}", 2) for n in range(64)])
END

for side in n1 n2; do
	wire "$side" "$side" <<'END'
import sys
from wire import *

WANT = "rx_bytes=168 rx_packets=2 tx_bytes=168 tx_packets=2"
now = COUNTERS.read()
zero = dict.fromkeys(now, (0,) * len(COUNTERS.NAMES))
moved = COUNTERS.moved(zero, now)
for n in range(64):
    expect(f"{sys.argv[1]}: input {n >> 3:03b}, output {n & 7:03b}", WANT,
           moved[f"g{n}"])
END
done

# -------------------------------------------------------- by hand

wire n0 <<'END'
from wire import *

sysctl(net__ipv4__icmp_ratemask=0)
u0 = Tun("u0", "192.0.2.1/24")
KEY, CSUM, SEQ_BIT = 1, 2, 4
DROPPED = "u0 rx_dropped=1"
UNREACHABLE = f"{DROPPED}; u0: icmp 3/3"
INNER = (ip() / udp() / b"hello").bytes()
OLDER = "drops a wrong checksum without a word"


def words(bits, way=""):
    return " ".join([f"{way}key 5"] * (bits & KEY) +
                    [f"{way}csum"] * (bits >> 1 & 1) +
                    [f"{way}seq"] * (bits >> 2)) or "nothing"


def header(bits, key=5, seq=0, sum=True):
    return gre(0x0800, key=key if bits & KEY else None,
               csum=sum if bits & CSUM else None,
               seq=seq if bits & SEQ_BIT else None)


def remote(bits):
    return f"192.0.2.{bits + 10}"


def add(name, bits, way="i"):
    options = words(bits, way).replace("nothing", "")
    run_ip(f"link add {name} type gre local 192.0.2.1 remote {remote(bits)} "
           f"{options}", f"link set {name} up")


def good(dev):
    return f"{dev} rx_bytes={len(INNER)} rx_packets=1"


def receive(name, want, bits, packet):
    case(name, want, u0, ip(remote(bits), "192.0.2.1", 47) / packet / INNER)


for bits in range(8):
    add(f"t{bits}", bits)

# What a device wants, what a packet has; the key comes first, it finds the
# device. A checksum or number that nobody asked for does no harm.
for device in range(8):
    for packet in range(8):
        dev = f"t{device}"
        if (device ^ packet) & KEY:
            want = UNREACHABLE
        elif device & CSUM & ~packet:
            want = f"{dev} {CRC}"
        elif device & SEQ_BIT & ~packet:
            want = f"{dev} {SEQ}"
        else:
            want = good(dev)
        with differs("refuses a checksum without icsum") \
                if packet & CSUM & ~device else differs("", ""):
            receive(f"wants {words(device)}, has {words(packet)}", want,
                    device, header(packet, seq=packet))

for bits in range(8):
    for name, wrong in (("5 with one bit flipped", 4), ("0", 0),
                        ("5 in the wrong order of bytes", 5 << 24)):
        if bits & KEY:
            receive(f"{words(bits)}: key {name}", UNREACHABLE, bits,
                    header(bits, key=wrong, seq=100))
    for name, wrong in (("0", 0), ("0xffff", 0xffff), ("of nothing", 0x1234)):
        with differs(OLDER):
            receive(f"wants {words(bits)}: checksum {name}",
                    f"t{bits} {CRC}", bits,
                    header(bits | CSUM, sum=wrong, seq=100))
    packet = header(bits | CSUM, seq=100).bytes()
    whole = (header(bits | CSUM, seq=100) / INNER).bytes()
    for at in (3, 6, len(packet) - 1, len(packet), len(whole) - 1):
        if bits & KEY and 8 <= at < 12:
            continue                    # it is somebody else's then
        broken = bytearray(whole)
        broken[at] ^= 0x10
        with differs(OLDER):
            case(f"wants {words(bits)}: a bit of byte {at} is wrong",
                 f"t{bits} {CRC}", u0,
                 ip(remote(bits), "192.0.2.1", 47) / bytes(broken))
case("a wrong checksum of a stranger is not answered", DROPPED, u0,
     ip("192.0.2.99", "192.0.2.1", 47) / gre(0x0800, csum=1) / INNER)

# ------------------------------------------------------ sequence numbers
# number -> taken or not, one after the other. After 0xffffffff the next that
# is expected is 0, and that means that any will do.
NUMBERS = [
    (1000, 1), (1001, 1), (1001, 0), (1000, 0), (0, 0), (1002, 1),
    (1010, 1), (1003, 0), (1010, 0), (1011, 1),
    (0x800003f3, 1),            # 2^31 - 1 ahead
    (0x800003f3, 0), (1012, 0), (0x800003f4, 1),
    (0xfffffffe, 1), (0xffffffff, 1), (0xfffffff0, 1), (0xfffffff1, 1),
    (3, 1),                     # over the end
    (0xfffffff2, 0), (2, 0), (4, 1),
    (0x80000005, 0),            # 2^31 ahead is behind
    (5, 1),
]
for bits in (SEQ_BIT, KEY | CSUM | SEQ_BIT):
    dev = f"n{bits}"
    run_ip(f"link del t{bits}")
    add(dev, bits)
    for step, (number, taken) in enumerate(NUMBERS):
        receive(f"{words(bits)}: step {step}, number 0x{number:x}",
                good(dev) if taken else f"{dev} {SEQ}", bits,
                header(bits, seq=number))
receive("without a number, when one is expected", f"n4 {SEQ}", 4, header(0))
receive("and then the next one", good("n4"), 4, header(4, seq=6))
for number in (7, 3, 7, 0):
    receive(f"a number nobody asked for: {number}", good("t0"), 0,
            header(SEQ_BIT, seq=number))

# ------------------------------------------------------------------ sending

for bits in range(8):
    dev = f"o{bits}"
    run_ip(f"link del {'n' if bits in (4, 7) else 't'}{bits}")
    add(dev, bits, "o")
    for seq in range(3):
        size = 20 + len(header(bits).bytes()) + len(INNER)
        name = f"sends {words(bits)}, packet {seq}"
        sent = sends(name, f"gre {size}", u0, dev, INNER, ETH_P_IP)
        if sent:
            expect(name, (header(bits, seq=seq) / INNER).bytes().hex(),
                   sent[20:].hex())
    # Of an odd length, and of none.
    for data in (ip() / b"odd", ip()):
        data = data.bytes()
        seq += 1
        size = 20 + len(header(bits).bytes()) + len(data)
        name = f"sends {words(bits)}, {len(data)} bytes"
        sent = sends(name, f"gre {size}", u0, dev, data, ETH_P_IP)
        if sent:
            expect(name, (header(bits, seq=seq) / data).bytes().hex(),
                   sent[20:].hex())
END
finish
