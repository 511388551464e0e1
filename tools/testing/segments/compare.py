# SPDX-License-Identifier: GPL-2.0-only
"""Compare two lists of frames. Identifications in headers written by the tunnel are not compared, but checked by
separate rules. Checksums 0 and 0xffff are equal, unless 0 means no checksum."""

import struct

from packets import checksum, folded

FOU = {5551: 4, 5552: 47}
GUE = 5553
SUM_AT = {"tcp": 16, "udp": 6}


def past_ethernet(frame, at):
    """-> ethertype, offset of its header"""
    proto = struct.unpack_from("!H", frame, at + 12)[0]
    at += 14
    while proto in (0x8100, 0x88a8):
        proto = struct.unpack_from("!H", frame, at + 2)[0]
        at += 4
    return proto, at


def past_udp(frame, at):
    """-> protocol after the UDP header at this offset, and its offset; 17 and the given offset if it is no tunnel"""
    port = struct.unpack_from("!H", frame, at + 2)[0]
    if port == GUE:
        return frame[at + 9], at + 12 + 4 * (frame[at + 8] & 31)
    if port not in FOU:
        return 17, at
    at += 8
    return 137 if FOU[port] == 4 and frame[at] >> 4 != 4 else FOU[port], at


def walk(frame):
    """-> [(type, offset)] of known headers, outermost first; type is 4, 6, udp, gre, tcp, ..."""
    found = []
    proto, at = past_ethernet(frame, 0)
    try:
        while True:
            if proto == 0x8847:
                while not frame[at + 2] & 1:
                    at += 4
                at += 4
                proto = 0x86dd if frame[at] >> 4 == 6 else 0x800
            if proto == 0x800:
                found.append((4, at))
                following = frame[at + 9]
                at += 4 * (frame[at] & 15)
            elif proto == 0x86dd:
                found.append((6, at))
                following = frame[at + 6]
                at += 40
            else:
                return found
            if following == 17:
                found.append(("udp", at))
                following, at = past_udp(frame, at)
            if following == 47:
                found.append(("gre", at))
                flags, proto = struct.unpack_from("!HH", frame, at)
                at += 4 + 4 * sum(bool(flags & bit) for bit in (0x8000, 0x2000, 0x1000))
                if proto == 0x88be and flags & 0x1000:
                    at += 8
                if proto in (0x6558, 0x88be):
                    proto, at = past_ethernet(frame, at)
            elif following in (4, 41, 137):
                proto = {4: 0x800, 41: 0x86dd, 137: 0x8847}[following]
            else:
                if following == 6:
                    found.append(("tcp", at))
                return found
    except (IndexError, struct.error):
        return found


REMOTE_SUM = bytes([0, 1, 0x80, 0, 0, 0])        # GUE's flags, and private flags, if nothing else is there


def finish_remote_sum(frame):
    """-> the frame after GUE remote checksum offload by the receiver: with the checksum, without the option. It is
    unchanged if the UDP checksum is wrong (draft-herbert-remotecsumoffload)."""
    ip, udp = 14, 34
    if frame[ip + 9] != 17 or struct.unpack_from("!H", frame, udp + 2)[0] != GUE or \
            frame[udp + 8] & 31 != 2 or frame[udp + 10:udp + 16] != REMOTE_SUM:
        return frame
    pseudo = frame[ip + 12:ip + 20] + struct.pack("!HH", 17, len(frame) - udp)
    if folded(pseudo + frame[udp:]) != 0xffff:
        return frame
    start, offset = struct.unpack_from("!HH", frame, udp + 16)
    payload = bytearray(frame[udp + 20:])
    struct.pack_into("!H", payload, offset, checksum(bytes(payload[start:])) or 0xffff)
    return with_gue(frame, bytes([frame[udp + 8] & ~31, frame[udp + 9], 0, 0]), bytes(payload))


def with_gue(frame, gue, payload):
    """-> the frame with another GUE header and payload, and correct lengths and checksums of the outer headers"""
    data = frame[34:38] + struct.pack("!HH", 8 + len(gue) + len(payload), 0) + gue + payload
    pseudo = frame[26:34] + struct.pack("!HH", 17, len(data))
    data = data[:6] + struct.pack("!H", checksum(pseudo + data) or 0xffff) + data[8:]
    head = frame[14:16] + struct.pack("!H", 20 + len(data)) + frame[18:24] + bytes(2) + frame[26:34]
    return frame[:14] + head[:10] + struct.pack("!H", checksum(head)) + head[12:] + data


def leave_remote_sum(frame):
    """-> the frame with the payload checksum left to the receiver (remcsum), unchanged if it has none"""
    headers = walk(frame)
    what, at = headers[-1]
    if headers[1] != ("udp", 34) or what not in SUM_AT or at == 34:
        return frame
    field = at + SUM_AT[what]
    if field + 2 > len(frame) or frame[field:field + 2] == b"\0\0":
        return frame
    done = ~int.from_bytes(frame[field:field + 2], "big") & 0xffff
    rest = checksum(frame[at:field] + bytes(2) + frame[field + 2:])
    left = struct.pack("!H", folded(struct.pack("!HH", done, rest)))
    gue = bytes([frame[42] | 2, frame[43]]) + REMOTE_SUM + struct.pack("!HH", at - 46, field - 46)
    return with_gue(frame, gue, frame[46:field] + left + frame[field + 2:])


def canonical(frames, levels, innermost):
    """Apply remote checksum offload, and clear the identifications of the outermost LEVELS IP headers and of all but
    the innermost one, which INNERMOST includes.
    -> frames, [[(identification, DF)] for each of these headers], [complaint]"""
    if not frames:
        return [], [], []
    frames = [finish_remote_sum(frame) for frame in frames]
    where = [at for what, at in walk(frames[0]) if what in (4, 6)]
    places = [at for at in (where if innermost else where[:max(levels, len(where) - 1)]) if frames[0][at] >> 4 == 4]
    result, identifications, complaints = [], [[] for _ in places], []
    for frame in frames:
        data = bytearray(frame)
        for place, seen in zip(places, identifications):
            if folded(frame[place:place + 20]) != 0xffff:
                complaints.append("checksum of an IPv4 header is wrong")
            ident, fragment = struct.unpack_from("!HH", frame, place + 4)
            seen.append((ident, fragment & 0x4000))
            data[place + 4:place + 6] = data[place + 10:place + 12] = b"\0\0"
        result.append(bytes(data))
    return result, identifications, complaints


def check_identifications(seen):
    """Check RFC 6864: unique without DF; with DF 0, or counted up from 0 by GSO, with gaps if a card replicates
    headers (GSO_PARTIAL).
    -> [complaint]"""
    free = [ident for ident, df in seen if not df]
    if len(set(free)) != len(free):
        return ["two packets without DF have the same identification: " + " ".join(map(str, free[:40]))]
    for before, (ident, df) in enumerate(seen):
        if df and ident > before:
            return [f"identification {ident} after {before} packets, with DF"]
    return []


def same(wanted, got):
    """Return true if two frames are the same, except for equivalent checksums."""
    if wanted == got:
        return True
    if len(wanted) != len(got):
        return False
    a, b = bytearray(wanted), bytearray(got)
    fields = [at + 16 for what, at in walk(wanted) if what == "tcp"]
    fields += [at + 4 for what, at in walk(wanted) if what == "gre" and wanted[at] & 0x80]
    for at in fields:
        for data in a, b:
            if data[at:at + 2] == b"\xff\xff":
                data[at:at + 2] = b"\0\0"
    return a == b


def differences(wanted, got):
    """-> [text], empty if the frames are the same"""
    if wanted == got or len(wanted) == len(got) and all(map(same, wanted, got)):
        return []
    text = [f"{len(wanted)} frames wanted, {len(got)} sent"]
    for n, (a, b) in enumerate(zip(wanted, got)):
        if not same(a, b):
            text += [f"frame {n}: {explain(a, b)}", f"wanted {len(a)} {a[:120].hex()}",
                     f"got    {len(b)} {b[:120].hex()}"]
            break
    return text


def explain(a, b):
    at = next((n for n, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    inside = [f"{what} + {at - place}" for what, place in walk(a) if place <= at]
    count = sum(x != y for x, y in zip(a, b))
    where = inside[-1] if inside else "start"
    return f"differs first at {at} ({where}), in {count} bytes, in length by {len(b) - len(a)}"
