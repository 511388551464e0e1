# SPDX-License-Identifier: GPL-2.0-only
"""Receive: decapsulated packets are merged by GRO, forwarded, and segmented again. The frames sent by a card must be
the packets that were sent into the tunnel, in order."""

import collections
import struct

import card
import compare
import packets
import tunnels
from flows import CARD_MAC

OUT4, OUT6 = "198.51.100.0/23", "2001:db8:100::/47"


def incoming(frame):
    """-> the frame as sent by the remote endpoint: with swapped addresses, which does not change checksums"""
    return packets.mac(CARD_MAC) * 2 + frame[12:26] + frame[30:34] + frame[26:30] + frame[34:]


def inner(frame):
    """-> the payload of the tunnel as a frame, None if it is not forwarded; true if it is routed"""
    headers = compare.walk(frame)
    at, following = headers[0][1], frame[headers[0][1] + 9]
    at += 20
    if following == 17:
        following, at = compare.past_udp(frame, at)
    proto = {4: 0x800, 137: 0x8847}.get(following)
    if following == 47:
        flags, proto = struct.unpack_from("!HH", frame, at)
        at += 4 + 4 * sum(bool(flags & bit) for bit in (0x8000, 0x2000, 0x1000))
        at += 8 if proto == 0x88be and flags & 0x1000 else 0
    if proto in (0x6558, 0x88be):
        return frame[at:], frame[at:at + 6] == packets.mac(tunnels.MAC)
    return packets.mac(CARD_MAC) * 2 + struct.pack("!H", proto) + frame[at:], True


def forwarded(frame):
    """-> the frame after forwarding by a router, None if it is not routed"""
    proto = struct.unpack_from("!H", frame, 12)[0]
    data = bytearray(packets.mac(CARD_MAC) * 2 + frame[12:])
    if proto == 0x800:
        data[22] -= 1
        data[24:26] = b"\0\0"
        data[24:26] = struct.pack("!H", packets.checksum(bytes(data[14:34])))
        return bytes(data)
    if proto == 0x86dd:
        data[21] -= 1
        return bytes(data)
    return None


def flow_of(frame):
    """-> the flow key: addresses and ports of the innermost packet"""
    headers = [(what, at) for what, at in compare.walk(frame) if what in (4, 6)]
    if not headers:
        return b""
    what, at = headers[-1]
    return frame[at + 12:at + 24] if what == 4 else frame[at + 8:at + 44]


def by_flow(frames):
    result = collections.defaultdict(list)
    for frame in frames:
        result[flow_of(frame)].append(frame)
    return result


def expected(frames):
    """-> frames to receive, expected frames"""
    coming, leaving = [], []
    for frame in frames:
        data, routed = inner(frame)
        out = forwarded(data) if routed else data
        if out is None:
            return [], []
        coming.append(incoming(frame))
        leaving.append(out)
    return coming, leaving


def sent_with(tunnel, frames):
    """-> received frames, with remote checksum offload if the tunnel uses it"""
    return [compare.leave_remote_sum(frame) for frame in frames] if tunnel.remcsum else frames


def orders(ifindex, frames, rng):
    """-> card orders; some frames are linear, some have pages, which GRO merges in different ways"""
    head, flags = rng.choice([0, 0, 120]), rng.choice([0, card.SUMMED])
    return b"".join(card.order(ifindex, card.GRO, frame, flags=flags, head=min(head, len(frame))) for frame in frames)


def same_ttl(frames):
    """Ignore the TTL in a frag_list: the kernel only decrements that of the first packet."""
    result = []
    for frame in frames:
        data = bytearray(frame)
        proto, at = compare.past_ethernet(frame, 0)
        if proto == 0x800:
            data[at + 8] = data[at + 10] = data[at + 11] = 0
        elif proto == 0x86dd:
            data[at + 7] = 0
        result.append(bytes(data))
    return result


def with_fixed_id(frames):
    """-> the frames of GSO packets that GRO of 6.1 holds without merging anything into them. It takes their
    identification for a fixed one (SKB_GSO_TCP_FIXEDID): held are packets with DF and without PSH, all of whose
    segments are of one size."""
    result = []
    for segments in by_flow(frames).values():
        walked = compare.walk(segments[0])
        (what, ip), (last, tcp) = walked[-2:] if len(walked) > 1 else ((None, 0), (None, 0))
        held = what == 4 and last == "tcp" and len(segments) > 1 and segments[0][ip + 6] & 0x40 and \
            len(set(map(len, segments))) == 1 and not segments[-1][tcp + 13] & 0x3f & ~0x10
        for frame in segments:
            data = bytearray(frame)
            if held:
                data[ip + 4:ip + 6] = segments[0][ip + 4:ip + 6]
                data[ip + 10:ip + 12] = b"\0\0"
                data[ip + 10:ip + 12] = struct.pack("!H", packets.checksum(bytes(data[ip:ip + 20])))
            result.append(bytes(data))
    return result


def judge(leaving, got, lists, innermost=False):
    """lists: GRO used frag_lists; innermost: ignore the innermost identification. -> [complaint]"""
    if leaving == got:
        return []
    if lists:
        leaving, got = same_ttl(leaving), same_ttl(got)
    wanted, have = by_flow(leaving), by_flow(got)
    for flow in wanted | have:
        a, b = (compare.canonical(frames.get(flow, []), 0, innermost) for frames in (wanted, have))
        complaints = b[2] + compare.differences(a[0], b[0])
        if complaints:
            return complaints
    return []
