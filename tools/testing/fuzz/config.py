# SPDX-License-Identifier: GPL-2.0-only
"""Configuration by chance: netlink, ioctls, and what else comes and goes.

Operation N of a seed is a line of words that depends on nothing but the two, so
that any selection of them can be run again:

    nl NS new|set|replace DEV KIND ATTRIBUTE...     as ../selftests/nl.py
    ioctl NS DEV COMMAND FIELD=VALUE...             as ../selftests/tunctl.py
    del NS DEV          up NS DEV      down NS DEV      rename NS DEV NEW
    mtu NS DEV N        move NS DEV NS                  dump NS
    ip NS WORD...       sysctl NS NAME VALUE            unload MODULE      load MODULE
    restore             each RESTORE operations: what packets need on their way to the tunnels
"""
import collections
import os
import random
import socket
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../selftests"))

import links        # noqa: E402
import nl           # noqa: E402
import pkt          # noqa: E402
import tunctl       # noqa: E402
from wire import sysctl     # noqa: E402

ADDRESS, BROADCAST, MTU, LINKINFO, LINK_NETNSID = 1, 2, 4, 18, 37   # IFLA_
INFO_KIND, INFO_DATA = 1, 2     # IFLA_INFO_
GRE_KEY = 0x2000
RTM_NEWROUTE, RTA_DST, RTA_OIF = 24, 1, 4
RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_LINK, RTN_UNICAST = 254, 4, 253, 1
ARPHRD_ETHER = 1
NAMESPACES = ["fz0", "fz1", "fz2"]
FALLBACK = {"tunl0": "ipip", "gre0": "gre", "gretap0": "gretap", "erspan0": "erspan"}
KEPT = {"lo", "u0", *FALLBACK}
DEVICES = [f"d{n}" for n in range(12)] + list(FALLBACK)
KINDS = ["ipip", "gre", "gretap", "erspan"]
MODULES = ["fou", "fou", "fou", "fou", "dummy", "veth", "ipip", "ip_gre", "gre", "tunnel4", "ip_tunnel_core",
           "sit", "xfrm4_tunnel", "ip_vti"]

ADDRESSES = ["192.0.2.1", "192.0.2.16", "192.0.2.17", "0.0.0.0", "192.0.2.2", "198.51.100.1", "224.0.0.5", "127.0.0.1",
             "255.255.255.255", "240.0.0.1"]
VALUES = {
    "LINK": ["0", "0", "1", "2", "99"], "IFLAGS": ["0", "0x2000", "0x8000", "0x1000", "0xb000", "0x4000", "0xffff"],
    "IKEY": ["0", "7", "1", "0xffffffff"], "TTL": ["0", "1", "64", "255"], "TOS": ["0", "1", "0xb8", "255"],
    "PMTUDISC": ["0", "1", "2"], "ENCAP_TYPE": ["0", "1", "2", "3", "4", "9"],
    "ENCAP_FLAGS": ["0", "1", "2", "3", "4", "7", "0xffff"],
    "ENCAP_SPORT": ["0", "1", "5555"], "ENCAP_DPORT": ["5555", "5556", "5557", "0"], "IGNORE_DF": ["0", "1"],
    "FWMARK": ["0", "1", "0xffffffff"], "ERSPAN_VER": ["0", "1", "2", "3"],
    "ERSPAN_INDEX": ["0", "5", "0xfffff", "0x100000"],
    "ERSPAN_DIR": ["0", "1", "2"], "ERSPAN_HWID": ["0", "9", "63", "64"], "PROTO": ["4", "0", "137", "41", "6"],
    "FLAGS": ["0", "1", "0x8000"], "COLLECT_METADATA": ["flag:"], "ENCAP_LIMIT": ["0", "4"], "FLOWINFO": ["0"],
}
VALUES["OFLAGS"], VALUES["OKEY"] = VALUES["IFLAGS"], VALUES["IKEY"]
VALUES["LOCAL"] = VALUES["REMOTE"] = ADDRESSES
LINK_VALUES = {"MTU": ["68", "1280", "1476", "65535", "0", "67"],
               "ADDRESS": ["hex:c0000201", "hex:020000000001", "hex:"], "BROADCAST": ["hex:c0000210", "hex:e0000005"],
               "LINK_NETNSID": ["1", "2", "1", "0", "9", "-1"], "TARGET_NETNSID": ["1", "9"], "NEW_NETNSID": ["1", "5"]}
NETNSIDS = {name: number for number, name in enumerate(NAMESPACES)}     # by which namespaces know others
STRANGE = ["%d", "a/b", "x" * 15, "x" * 16, "..", "eth0:1", " "]                    # names of devices
SYSCTLS = [("ipv4/ip_forward", "01"), ("ipv4/conf/all/rp_filter", "012"), ("ipv4/ip_default_ttl", "19"),
           ("ipv4/ip_no_pmtu_disc", "0123"), ("ipv4/fwmark_reflect", "01"), ("ipv4/conf/default/accept_local", "01"),
           ("core/fb_tunnels_only_for_init_net", "012"), ("ipv4/ip_forward_use_pmtu", "01")]
AROUND = ["addr add 192.0.2.1/24 dev u0", "addr del 192.0.2.1/24 dev u0", "route replace 192.0.2.16 dev d1",
          "route del 192.0.2.16", "route replace 192.0.2.17 via 192.0.2.9 mtu 700", "route flush 192.0.2.17",
          "route replace 10.2.0.0/24 dev d0", "route replace 10.2.0.0/24 dev d2 encap ip id 7 dst 192.0.2.16",
          "rule add fwmark 1 lookup 77", "rule del fwmark 1", "link set u0 down", "link set u0 up", "link del u0",
          "link add u0 type dummy", "link set u0 mtu 600", "link set u0 mtu 9000", "fou add port 5555 ipproto 4",
          "fou add port 5556 ipproto 47", "fou add port 5557 gue", "fou del port 5555", "fou del port 5556",
          "fou del port 5557", "link add br0 type bridge", "link set d0 master br0", "link set d3 master br0",
          "link set d0 nomaster", "link add v0 type vrf table 5", "link set d1 master v0",
          "neigh replace 10.0.0.9 lladdr 192.0.2.16 dev d0", "link add link d0 name vl0 type vlan id 3",
          "link add link d3 name mv0 type macvlan"]
RESTORE = 64                    # operations
RESTORED = ["link add u0 type dummy", "link set u0 up", "addr replace 192.0.2.1/24 dev u0", "link set in up"]
UNDERLAY = ["link set in up", "link set none up", "route add 192.0.2.64/26 dev none", "route add 10.1.0.0/16 dev none"]


# ------------------------------------------------------------- what there is

def link_info(attrs):
    """-> kind of a device, or nothing; its own attributes, by number"""
    info = dict(links.attributes(dict(attrs).get(LINKINFO, b"")))
    return info.get(INFO_KIND, b"").rstrip(b"\0").decode(), dict(links.attributes(info.get(INFO_DATA, b"")))


def described(attrs):
    """-> what a device says of its kind; attributes may come in any order"""
    kind, data = link_info(attrs)
    return f"{kind} " + " ".join(f"{number}={value.hex()}" for number, value in sorted(data.items()))


def picture(ns, dev):
    """-> what can be compared of a device: without its number, and Ethernet addresses, which are random"""
    for head, attrs in links.dump(ns, links.SKIP_STATS):
        if links.name_of(attrs) == dev:
            _, _, kind, _, flags, _ = struct.unpack("=BBHiII", head)
            kept = {MTU} | ({ADDRESS, BROADCAST} if kind != ARPHRD_ETHER else set())
            values = [f"{number}:{value.hex()}" for number, value in attrs if number in kept]
            return f"type {kind} flags {flags:x} {' '.join(values)} {described(attrs)}"
    return "none"


def is_same(one, other):
    """-> whether the answers to a request are the same, and the device afterwards; of a device that is not there, two
    errors are as good as each other"""
    return one == other or (one[1] == other[1] == "none" and bool(one[0]) and bool(other[0]))


def ends(kind, data):
    """-> what makes a tunnel: no other of its kind may have the same"""
    table = nl.table(nl.IPTUN if kind == "ipip" else nl.GRE)
    value = {name: data.get(number, b"") for name, (number, _) in table.items()}
    if table["COLLECT_METADATA"][0] in data:
        return kind, "external"
    keyed = kind != "ipip" and struct.unpack(">H", value["IFLAGS"])[0] & GRE_KEY
    if kind == "erspan" and value["ERSPAN_VER"] == b"\0":
        keyed = False           # type I has no session
    return kind, value["LINK"], value["LOCAL"], value["REMOTE"], keyed and value["IKEY"]


def wrong(ns):
    """-> what can be true of no namespace, or None"""
    seen = {}
    for _, attrs in links.dump(ns, links.SKIP_STATS):
        attrs = dict(attrs)
        kind, data = link_info(attrs)
        dev = attrs[links.IFNAME].rstrip(b"\0").decode()
        if kind not in KINDS or LINK_NETNSID in attrs or dev in FALLBACK:
            continue
        if kind in ("gretap", "erspan") and attrs[ADDRESS][0] & 1:
            return f"{ns}: {dev} has a group's Ethernet address"
        other = seen.setdefault(ends(kind, data), dev)
        if other != dev:
            return f"{ns}: {other} and {dev} are the same tunnel"
    return None


# ---------------------------------------------------------------- operations

def value(rng, kind, choices):
    """-> one that fits, or has another length, type or number"""
    wrong = rng.randrange(60)
    if wrong == 0:
        return "hex:"
    if wrong == 1:
        return f"hex:{rng.randbytes(rng.randrange(1, 8)).hex()}"
    if wrong == 2:
        return f"hex:{rng.randbytes(rng.randrange(8, 40)).hex()}"
    if wrong == 3 and kind not in ("ip4", "flag", "hex"):
        return str(rng.choice((0, 1, 2, 127, 128, 255)))
    return rng.choice(choices)


def attributes(rng, kind):
    table = nl.table(nl.IPTUN if kind == "ipip" else nl.GRE)
    known = [name for name in table if name in VALUES]
    chosen = set(rng.sample(known, rng.choice((0, 1, 1, 1, 2, 2, 3, 5, 9))))
    if rng.randrange(8):
        chosen |= {"LOCAL", "REMOTE"}
    if kind == "erspan" and rng.randrange(8):
        chosen |= {"IKEY", "OKEY", "IFLAGS", "OFLAGS", "ERSPAN_VER"}
    words = [f"{name}={value(rng, table[name][1], VALUES[name])}" for name in table if name in chosen]
    if kind == "erspan" and rng.randrange(4):
        words = [word for word in words if not word.startswith(("IFLAGS", "OFLAGS"))]
        words += ["IFLAGS=0x3000", "OFLAGS=0x3000"]
    if not rng.randrange(8):
        name = rng.choice(list(LINK_VALUES))
        words.append(f"@{name}={value(rng, 'hex', LINK_VALUES[name])}")
    if words and not rng.randrange(32):
        words.append(rng.choice(words))         # twice
    if not rng.randrange(32):
        words = []                              # no data at all
    if not rng.randrange(32):
        words.append(f"{rng.randrange(64)}=hex:{rng.randbytes(rng.randrange(9)).hex()}")
    return words


def kind_of(dev):
    """Most devices of a name are of one kind, or every second request would be for another's."""
    return FALLBACK.get(dev) or KINDS[int(dev[1:]) * len(KINDS) // 12]


def netlink(rng, ns, dev):
    kind = kind_of(dev) if rng.randrange(16) else rng.choice(KINDS)
    return ["nl", ns, rng.choice(("new", "new", "set", "set", "set", "replace")), dev, kind, *attributes(rng, kind)]


def ioctl(rng, ns, dev):
    command = rng.choice("get add add chg chg del getprl addprl get6rd 0x89ff".split())
    words = [f"name={rng.choice(DEVICES + [dev] * 8 + [''] + STRANGE[:2])}", f"saddr={rng.choice(ADDRESSES)}",
             f"daddr={rng.choice(ADDRESSES)}", f"protocol={rng.choice((4, 47, 47, 0, 41, 137))}",
             f"i_flags={rng.choice(VALUES['IFLAGS'])}", f"o_flags={rng.choice(VALUES['IFLAGS'])}",
             f"i_key={rng.choice(VALUES['IKEY'])}", f"o_key={rng.choice(VALUES['IKEY'])}",
             f"ttl={rng.choice(VALUES['TTL'])}", f"tos={rng.choice(VALUES['TOS'])}",
             f"frag_off={rng.choice((0, 0x4000, 0x2000))}", f"link={rng.choice(VALUES['LINK'])}"]
    if not rng.randrange(16):
        words.append(f"{rng.choice(('version', 'ihl'))}={rng.randrange(16)}")
    if not rng.randrange(32):
        words.append("pointer=8")
    if not rng.randrange(32):
        words.append(f"name={rng.choice(STRANGE)}")
    return ["ioctl", ns, rng.choice((dev, "tunl0", "gre0")), command, *words]


def device(rng, ns, dev):
    what = rng.choice("del del up up up down rename mtu move move".split())
    more = {"rename": [rng.choice(DEVICES + STRANGE[:1])], "mtu": [rng.choice(LINK_VALUES["MTU"])],
            "move": [rng.choice(NAMESPACES)]}
    return [what, ns, dev, *more.get(what, [])]


def around(rng, ns, _):
    what = rng.randrange(100)
    if what < 10:
        return ["unload", rng.choice(MODULES)]
    if what < 22:
        return ["load", rng.choice(MODULES)]
    if what < 45:
        name, values = rng.choice(SYSCTLS)
        return ["sysctl", ns, name, rng.choice(values)]
    if what < 60:
        return ["dump", ns]
    return ["ip", ns, *rng.choice(AROUND).split()]


def operation(seed, number):
    """-> its words"""
    if number % RESTORE == 0:
        return ["restore"]
    rng = random.Random(seed << 32 | number)
    what = rng.choices((netlink, ioctl, device, around), (58, 18, 18, 6))[0]
    ns = rng.choice(NAMESPACES[:1] * 4 + NAMESPACES)
    return what(rng, ns, rng.choice(DEVICES[:12] * 3 + DEVICES[12:]))


def episode(seed, number):
    """-> a few operations on a few devices, for two sets of modules to be compared"""
    rng = random.Random(seed << 32 | number)
    devices = rng.sample(DEVICES[:12], 2)
    return [rng.choices((netlink, ioctl, plain), (6, 3, 2))[0](rng, NAMESPACES[0], rng.choice(devices))
            for _ in range(rng.randrange(2, 8))]


def plain(rng, ns, dev):
    what = rng.choice("del up down mtu".split())
    return [what, ns, dev, *([rng.choice(LINK_VALUES["MTU"])] if what == "mtu" else [])]


# ----------------------------------------------------------------- carry out

class Kernel:
    def __init__(self):
        self.counts = collections.Counter()
        self.seen = {}                  # packets of each tunnel so far
        self.flow = 0                   # of all, by tunnels that are gone, too
        self.files = {}
        self.sockets = {}
        for ns in NAMESPACES:
            self.make(ns)
        for ns in NAMESPACES:
            for other, number in NETNSIDS.items():
                self.command("ip", "-n", ns, "netns", "set", other, str(number))
        self.traffic = None

    def start_traffic(self, inject):
        """Packets for tunnels that may be there, in the first namespace, until the end"""
        ns = NAMESPACES[0]
        self.command("modprobe", "-a", "ip_gre", "ipip", "fou", "tun")
        self.command("ip", "netns", "exec", ns, "modprobe", "ip_tnl_card")
        for line in UNDERLAY:
            self.command("ip", "-n", ns, *line.split())
        self.do_sysctl(ns, "ipv4/ip_forward", "1")
        self.traffic = subprocess.Popen(["ip", "netns", "exec", ns, *inject, "receive:in:outer", "gro:in:outer",
                                         "receive:in:inner"], stdout=subprocess.DEVNULL)

    def close(self):
        for ns in NAMESPACES:
            os.close(self.files.pop(ns))
            self.sockets.pop(ns).close()
            subprocess.run(["ip", "netns", "del", ns], check=True)

    def episode(self, operations):
        """-> [(errno or "", what the device is then)]; afterwards all is as before"""
        told = []
        for words in operations:
            told.append((getattr(self, "do_" + words[0])(*words[1:]), picture(words[1], words[2])))
        for ns in NAMESPACES:           # also of another name, or elsewhere
            for dev in {links.name_of(attrs) for _, attrs in links.dump(ns, links.SKIP_STATS)} - KEPT:
                self.do_del(ns, dev)
        return told

    def make(self, ns):
        subprocess.run(["ip", "netns", "add", ns], check=True)
        subprocess.run(["ip", "-n", ns, "-batch", "-"], check=True, text=True, input="""
            link set lo up
            link add u0 type dummy
            link set u0 up
            addr add 192.0.2.1/24 dev u0
            """)
        self.files[ns] = os.open("/run/netns/" + ns, os.O_RDONLY)
        with pkt.in_netns(ns):
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        sock.bind((0, 0))
        self.sockets[ns] = sock

    def run(self, words):
        """Count it as accepted, or by the errno."""
        answer = getattr(self, "do_" + words[0])(*words[1:])
        self.counts[f"{words[0]}: {answer or 'accepted'}"] += 1

    def measure(self):
        """Count what tunnels have received and sent since the last time, as far as they are still there."""
        for head, attrs in links.dump(NAMESPACES[0], 0):
            attrs = dict(attrs)
            if link_info(attrs)[0] in KINDS:
                index = struct.unpack_from("=i", head, 4)[0]
                packets = sum(struct.unpack_from("=2Q", attrs[links.STATS64]))      # received and sent
                self.flow += max(0, packets - self.seen.get(index, 0))
                self.seen[index] = packets

    def request(self, ns, message):
        sock = self.sockets[ns]
        sock.send(message)
        error, _ = nl.answer(sock.recv(65536))
        return nl.errno_name(error) if error else ""

    def link(self, ns, dev, kind=16, flags=0, change=0):
        """RTM_NEWLINK (16) or RTM_DELLINK (17)"""
        body = struct.pack("=BxHiII", 0, 0, 0, flags, change) + nl.attribute(3, dev.encode() + b"\0")
        return self.request(ns, struct.pack("=IHHII", 16 + len(body), kind, 5, 1, 0) + body)

    def do_nl(self, ns, verb, dev, kind, *words):
        return self.request(ns, nl.request(verb, dev, kind, words))

    def set(self, ns, dev, attribute):
        """an attribute of the link itself"""
        return self.do_nl(ns, "set", dev, "-", attribute)

    def do_ioctl(self, ns, dev, command, *words):
        status, text = tunctl.ask(ns, dev, command, *words)
        return text if status else ""

    def do_del(self, ns, dev):
        return self.link(ns, dev, 17)

    def do_up(self, ns, dev):
        """and send some of the traffic there"""
        answer = self.link(ns, dev, flags=1, change=1)
        if not answer and dev in DEVICES:
            self.route(ns, 16 * DEVICES.index(dev), dev)
        return answer

    def route(self, ns, host, dev):
        """RTM_NEWROUTE, or replace it: 10.2.0.HOST/28"""
        body = struct.pack("=8BI", socket.AF_INET, 28, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_LINK, RTN_UNICAST,
                           0)
        body += nl.attribute(RTA_DST, bytes((10, 2, 0, host))) + \
            nl.attribute(RTA_OIF, struct.pack("=I", self.index(ns, dev)))
        return self.request(ns, struct.pack("=IHHII", 16 + len(body), RTM_NEWROUTE, 0x505, 1, 0) + body)

    @staticmethod
    def index(ns, dev):
        """-> its number, or 0"""
        with pkt.in_netns(ns):
            try:
                return socket.if_nametoindex(dev)
            except OSError:
                return 0

    def do_down(self, ns, dev):
        return self.link(ns, dev, change=1)

    def do_mtu(self, ns, dev, mtu):
        return self.set(ns, dev, f"@MTU={mtu}")

    def do_move(self, ns, dev, target):
        return self.set(ns, dev, f"@NET_NS_FD={self.files[target]}")

    def do_rename(self, ns, dev, new):
        index = self.index(ns, dev)
        return self.set(ns, f"index:{index}", f"@IFNAME={new}") if index else "ENODEV"

    def do_restore(self):
        for line in RESTORED:
            self.command("ip", "-n", NAMESPACES[0], *line.split())
        self.do_sysctl(NAMESPACES[0], "ipv4/conf/all/rp_filter", "0")
        return self.do_sysctl(NAMESPACES[0], "ipv4/ip_forward", "1")

    @staticmethod
    def do_dump(ns):
        links.configuration(ns)
        return ""

    def do_ip(self, ns, *words):
        return self.command("ip", "-n", ns, *words)

    def do_load(self, module):
        return self.command("modprobe", module)

    @staticmethod
    def do_unload(module):
        try:
            pkt.libc_call("delete_module", module.encode(), os.O_NONBLOCK)
        except OSError as error:
            return nl.errno_name(error.errno)
        return ""

    @staticmethod
    def do_sysctl(ns, name, setting):
        try:
            with pkt.in_netns(ns):
                sysctl(**{"net/" + name: setting})
        except OSError as error:
            return nl.errno_name(error.errno)
        return ""

    @staticmethod
    def command(*words):
        done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return f"status {done.returncode}" if done.returncode else ""
