#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Key, checksum and sequence number: in every combination and direction between
two kernels, the bytes on the wire, and what is refused and counted.

    n1                          n2      64 tunnels, one for each pair of
    | v1 192.0.2.1 ...          | v2    (input, output) options
    '---------------------------' 192.0.2.101 ...

    the test (192.0.2.x)
       | u0, a tun device
    n0: 192.0.2.1
        one tunnel for each set of options
"""
import socket

from ksft import ksft_run, need_modules, modprobe, expect, NetNs, veth_pair, differs, run_ip
from pkt import gre, ip, ip6, udp
from wire import CRC, ETH_P_IP, SEQ, Tun, attempt, case, sends, sysctl, transmit

# A set of options
HAS_KEY, HAS_CSUM, HAS_SEQ = 1, 2, 4
SETS = range(8)
PAIRS = range(64)                   # input << 3 | output

LOCAL, STRANGER = "192.0.2.1", "192.0.2.99"
DROPPED = "u0 rx_dropped=1"
UNREACHABLE = f"{DROPPED}; u0: icmp 3/3"
INNER = (ip() / udp() / b"hello").bytes()
NOT_COUNTED = "drops a wrong checksum without a word"
# number -> taken or not, one after the other. After 0xffffffff the next that
# is expected is 0, and that means that any will do.
NUMBERS = [
    (1000, 1), (1001, 1), (1001, 0), (1000, 0), (0, 0), (1002, 1),
    (1010, 1), (1003, 0), (1010, 0), (1011, 1),
    (0x800003f3, 1),                # 2^31 - 1 ahead
    (0x800003f3, 0), (1012, 0), (0x800003f4, 1),
    (0xfffffffe, 1), (0xffffffff, 1), (0xfffffff0, 1), (0xfffffff1, 1),
    (3, 1),                         # past the wrap
    (0xfffffff2, 0), (2, 0), (4, 1),
    (0x80000005, 0),                # 2^31 ahead is behind
    (5, 1),
]


def options(bits, way="", key=5):
    """as ip-link(8) has them; way is "i", "o", or nothing for both"""
    return " ".join([f"{way}key {key}"] * bool(bits & HAS_KEY) +
                    [f"{way}csum"] * bool(bits & HAS_CSUM) +
                    [f"{way}seq"] * bool(bits & HAS_SEQ))


def words(bits):
    return options(bits) or "nothing"


# ------------------------------------------------------------ between kernels

def add_pairs(ns, dev, own, peer, ways):
    """One side's 64 tunnels. own and peer are the last bytes of the first
    addresses, ways says which half of a pair's number is input, which output."""
    lines = []
    for n in PAIRS:
        local, remote = f"192.0.2.{own + n}", f"192.0.2.{peer + n}"
        high, low = options(n >> 3, ways[0], n + 1), options(n & 7, ways[1], n + 101)
        lines += [f"addr add {local}/32 dev {dev}",
                  f"route add {remote}/32 dev {dev} src {local}",
                  f"link add g{n} type gre local {local} remote {remote} {high} {low}",
                  f"link set g{n} up",
                  f"addr add 198.51.100.{own + n} peer 198.51.100.{peer + n} dev g{n}"]
    ns.ip(*lines)


def each_pair_of_options(n1, n2):
    add_pairs(n1, "v1", 1, 101, "io")
    add_pairs(n2, "v2", 101, 1, "oi")
    expect("64 pairs of options: each echo is answered", [2] * 64,
           [n1.echo(f"198.51.100.{101 + n}", 2) for n in PAIRS])
    for side, ns in ("n1", n1), ("n2", n2):
        now = ns.counters.read()
        zero = dict.fromkeys(now, (0,) * len(ns.counters.NAMES))
        moved = ns.counters.moved(zero, now)
        for n in PAIRS:
            expect(f"{side}: input {n >> 3:03b}, output {n & 7:03b}",
                   "rx_bytes=168 rx_packets=2 tx_bytes=168 tx_packets=2", moved[f"g{n}"])


# --------------------------------------------------------------- by hand: in

def remote(bits):
    return f"192.0.2.{bits + 10}"


def add_lines(name, bits, way):
    return (f"link add {name} type gre local {LOCAL} remote {remote(bits)} {options(bits, way)}",
            f"link set {name} up")


def add_all(name, way):
    run_ip(*(line for bits in SETS for line in add_lines(f"{name}{bits}", bits, way)))


def header(bits, key=5, seq=0, sum=True):
    return gre(0x0800, key=key if bits & HAS_KEY else None, csum=sum if bits & HAS_CSUM else None,
               seq=seq if bits & HAS_SEQ else None)


def good(dev):
    return f"{dev} rx_bytes={len(INNER)} rx_packets=1"


def receive(u0, name, want, bits, packet):
    case(name, want, u0, ip(remote(bits), LOCAL, 47) / packet / INNER)


def received(device, packet):
    """The key comes first: it finds the device. A checksum or number that nobody
    asked for does no harm."""
    dev = f"t{device}"
    if (device ^ packet) & HAS_KEY:
        return UNREACHABLE
    if device & HAS_CSUM & ~packet:
        return f"{dev} {CRC}"
    if device & HAS_SEQ & ~packet:
        return f"{dev} {SEQ}"
    return good(dev)


def wanted_and_present(u0):
    """what a device wants, what a packet has"""
    for device in SETS:
        for packet in SETS:
            with differs("refuses a checksum without icsum", when=packet & HAS_CSUM & ~device):
                receive(u0, f"wants {words(device)}, has {words(packet)}", received(device, packet),
                        device, header(packet, seq=packet))


def wrong_key(u0, bits):
    for name, key in (("5 with one bit flipped", 4), ("0", 0), ("5 in the wrong order of bytes", 5 << 24)):
        receive(u0, f"{words(bits)}: key {name}", UNREACHABLE, bits, header(bits, key=key, seq=100))


def wrong_checksum(u0, bits):
    for name, wrong in (("0", 0), ("0xffff", 0xffff), ("of nothing", 0x1234)):
        with differs(NOT_COUNTED):
            receive(u0, f"wants {words(bits)}: checksum {name}", f"t{bits} {CRC}", bits,
                    header(bits | HAS_CSUM, sum=wrong, seq=100))


def flipped_bit(u0, bits):
    size = len(header(bits | HAS_CSUM, seq=100).bytes())
    whole = (header(bits | HAS_CSUM, seq=100) / INNER).bytes()
    for at in (3, 6, size - 1, size, len(whole) - 1):
        if bits & HAS_KEY and 8 <= at < 12:
            continue                # the key: the packet is somebody else's then
        broken = bytearray(whole)
        broken[at] ^= 0x10
        with differs(NOT_COUNTED):
            case(f"wants {words(bits)}: a bit of byte {at} is wrong", f"t{bits} {CRC}", u0,
                 ip(remote(bits), LOCAL, 47) / bytes(broken))


def no_device(u0):
    case("a wrong checksum of a stranger is not answered", DROPPED, u0,
         ip(STRANGER, LOCAL, 47) / gre(0x0800, csum=1) / INNER)


def refused(u0):
    for bits in SETS:
        if bits & HAS_KEY:
            wrong_key(u0, bits)
        wrong_checksum(u0, bits)
        flipped_bit(u0, bits)
    no_device(u0)


def sequence_numbers(u0):
    for bits in (HAS_SEQ, HAS_KEY | HAS_CSUM | HAS_SEQ):
        dev = f"n{bits}"
        run_ip(f"link del t{bits}", *add_lines(dev, bits, "i"))
        for step, (number, taken) in enumerate(NUMBERS):
            receive(u0, f"{words(bits)}: step {step}, number 0x{number:x}", good(dev) if taken else f"{dev} {SEQ}",
                    bits, header(bits, seq=number))
    receive(u0, "without a number, when one is expected", f"n4 {SEQ}", 4, header(0))
    receive(u0, "and then the next one", good("n4"), 4, header(4, seq=6))


def unwanted_numbers(u0):
    for number in (7, 3, 7, 0):
        receive(u0, f"a number nobody asked for: {number}", good("t0"), 0, header(HAS_SEQ, seq=number))


# -------------------------------------------------------------- by hand: out

def expect_sent(u0, name, bits, seq, data):
    size = 20 + len(header(bits).bytes()) + len(data)
    sent = sends(name, f"gre {size}", u0, f"o{bits}", data, ETH_P_IP)
    if sent:
        expect(name, (header(bits, seq=seq) / data).bytes().hex(), sent[20:].hex())


def sent_bytes(u0):
    run_ip(*(f"link del {'n' if bits in (4, 7) else 't'}{bits}" for bits in SETS))
    add_all("o", "o")
    for bits in SETS:
        for seq in range(3):
            expect_sent(u0, f"sends {words(bits)}, packet {seq}", bits, seq, INNER)
        # Of an odd length, and of none.
        for seq, packet in ((3, ip() / b"odd"), (4, ip())):
            data = packet.bytes()
            expect_sent(u0, f"sends {words(bits)}, {len(data)} bytes", bits, seq, data)


def number_of_a_dropped_packet(u0):
    """is that of the next one"""
    dev = f"o{HAS_SEQ}"
    run_ip(f"link set {dev} mtu 9000")
    want, got, _ = attempt(f"{dev} tx_errors=1", lambda: transmit(dev, ip(flags=2) / udp() / bytes(2000)))
    expect("too big for the path: dropped", want, got)
    with differs("uses up a number"):
        expect_sent(u0, "the next one has its number", HAS_SEQ, 5, INNER)


def socket_without_protocol(u0):
    """A packet socket says nothing of the payload: the header does."""
    for packet in ip() / udp(), ip6() / udp():
        data = packet.bytes()
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind(("o0", 0))
            want, got, came = attempt(f"o0 tx_bytes={len(data)} tx_packets=1; u0: gre {24 + len(data)}",
                                      lambda sock=sock, data=data: sock.send(data))
        expect(f"a packet socket without a protocol, {packet.ethertype:04x}", want, got)
        with differs("sends a protocol of 0"):
            expect(f"a packet socket without a protocol, {packet.ethertype:04x}: the header",
                   (gre(packet.ethertype) / data).bytes().hex(), came[u0][0][20:].hex())


def between_two_kernels():
    with NetNs() as n1, NetNs() as n2:
        veth_pair(n1, "v1", None, n2, "v2", None)
        each_pair_of_options(n1, n2)


def by_hand():
    with NetNs() as n0, n0.inside():
        sysctl(net__ipv4__icmp_ratemask=0)
        u0 = Tun("u0", f"{LOCAL}/24")
        add_all("t", "i")
        wanted_and_present(u0)
        refused(u0)
        sequence_numbers(u0)
        unwanted_numbers(u0)
        sent_bytes(u0)
        number_of_a_dropped_packet(u0)
        socket_without_protocol(u0)


def main():
    need_modules("ip_gre")
    modprobe("tun")
    between_two_kernels()
    by_hand()


ksft_run(main)
