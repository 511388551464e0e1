// SPDX-License-Identifier: GPL-2.0
#include <arpa/inet.h>
#include <string.h>

#include "packet.h"

#define DEPTH_MAX	4		/* headers inside each other, by then payload only */
#define HEADERS_MAX	1024		/* bytes of all headers together */

/* As in world.py: our ends, our peers', and what is behind them. */
static const uint32_t ours[] = { 0xc0000201, 0xc0000202, 0xe0000105, 0xffffffff, 0x7f000001 };
static const uint16_t fou_ports[] = { FOU_IP4, FOU_GRE, FOU_GUE, FOU_GUE_CSUM, 4754, 53 };
static const uint32_t keys[] = { 7, 1, 0, 2, 0xffffffff };

static void put(struct packet *p, const void *data, size_t len)
{
	if (len > PACKET_MAX - p->len)
		len = PACKET_MAX - p->len;
	memcpy(p->data + p->len, data, len);
	p->len += len;
}

static void put16(struct packet *p, uint16_t value)
{
	value = htons(value);
	put(p, &value, sizeof(value));
}

static void put32(struct packet *p, uint32_t value)
{
	value = htonl(value);
	put(p, &value, sizeof(value));
}

static void set16(struct packet *p, size_t at, uint16_t value)
{
	packet_set16(p->data + at, value);
}

uint32_t packet_sum(const uint8_t *data, size_t len, uint32_t start)
{
	size_t i;

	for (i = 0; i + 1 < len; i += 2)
		start += packet_get16(data + i);
	if (len & 1)
		start += data[len - 1] << 8;
	while (start >> 16)
		start = (start & 0xffff) + (start >> 16);
	return start;
}

/* The checksum of everything from "from" on goes to "at"; wrong now and then. */
static void set_sum(struct packet *p, struct tape *t, size_t from, size_t to, size_t at,
		    uint32_t start)
{
	bool wrong = tape_one_in(t, 32);

	set16(p, at, 0);
	set16(p, at, ~packet_sum(p->data + from, to - from, start) ^ wrong);
	p->unverified |= wrong;
}

/* The length of an IP packet; another one now and then. */
static void set_length(struct packet *p, struct tape *t, size_t at, size_t len)
{
	unsigned int more = tape_one_in(t, 32) ? tape_below(t, 65536) : 0;

	set16(p, at, len + more);
	p->unverified |= more;
}

static void put_ip4(struct packet *p, struct tape *t, int depth, bool from_us);
static void put_inner(struct packet *p, struct tape *t, int depth);
static void put_ethernet(struct packet *p, struct tape *t, int depth);

/* ---- payload without headers */

static void put_data(struct packet *p, struct tape *t)
{
	static const uint16_t sizes[] = { 0, 1, 8, 56, 200, 1000, 1472, 3000, 9000, 20000, 60000 };
	size_t len = sizes[tape_below(t, tape_one_in(t, 32) ? 11 : 7)] + tape_below(t, 8);
	size_t room = p->len + HEADERS_MAX < PACKET_MAX ? PACKET_MAX - HEADERS_MAX - p->len : 0;
	uint8_t fill = tape_below(t, 256);

	if (len > room)
		len = room;
	memset(p->data + p->len, fill, len);
	p->len += len;
}

/* ---- transport */

/* The IP header that a transport header is behind. */
struct outside {
	size_t at;
	bool ipv6;
};

static void remember_transport(struct packet *p, struct outside ip, size_t at,
			       uint8_t protocol)
{
	p->transport = at;
	p->network = ip.at;
	p->transport_protocol = protocol;
	p->ipv6 = ip.ipv6;
}

/* The sum of the pseudo header of what is at "at": its payload ends the packet. */
static uint32_t pseudo_sum(const struct packet *p, struct outside ip, size_t at,
			   uint8_t protocol)
{
	return packet_sum(p->data + ip.at + (ip.ipv6 ? 8 : 12), ip.ipv6 ? 32 : 8,
			  protocol + p->len - at);
}

/* The checksum of that transport header. */
static void set_transport_sum(struct packet *p, struct tape *t, struct outside ip, size_t at,
			      uint8_t protocol, size_t field)
{
	set_sum(p, t, at, p->len, at + field, pseudo_sum(p, ip, at, protocol));
}

static void put_tcp(struct packet *p, struct tape *t, struct outside ip)
{
	static const uint8_t flags[] = { 0x10, 0x18, 0x02, 0x12, 0x11, 0x04, 0x90 };
	size_t at = p->len;

	put16(p, 1024 + tape_below(t, 4));
	put16(p, 80);
	put32(p, tape_u32(t));
	put32(p, 1);
	put16(p, 0x5000 | tape_pick(t, flags));
	put16(p, 1000);
	put32(p, 0);
	put_data(p, t);
	set_transport_sum(p, t, ip, at, 6, 16);
	remember_transport(p, ip, at, 6);
}

static void put_gue(struct packet *p, struct tape *t, uint8_t protocol)
{
	uint16_t odd = tape_one_in(t, 16) ? tape_below(t, 65536) : 0;
	bool remcsum = tape_one_in(t, 4);

	put16(p, (remcsum ? 0x0200 : 0) | odd | protocol);
	put16(p, remcsum ? 0x0001 : odd);
	if (remcsum) {
		put32(p, tape_one_in(t, 4) ? tape_u32(t) : 0x00800000);
		put32(p, tape_u32(t) & 0x003f003f);
	}
}

static void put_gre(struct packet *p, struct tape *t, int depth);

static void put_encapsulated(struct packet *p, struct tape *t, int depth)
{
	unsigned int port = tape_below(t, 6);

	set16(p, p->len - 6, fou_ports[port]);
	switch (port) {
	case 0:
		put_ip4(p, t, depth + 1, false);
		break;
	case 1:
		put_gre(p, t, depth + 1);
		break;
	default:
		if (tape_one_in(t, 2)) {
			put_gue(p, t, 4);
			put_ip4(p, t, depth + 1, false);
		} else {
			put_gue(p, t, 47);
			put_gre(p, t, depth + 1);
		}
	}
}

static void put_udp(struct packet *p, struct tape *t, struct outside ip, int depth)
{
	bool encapsulated = !ip.ipv6 && depth < 2 && !tape_one_in(t, 2);
	size_t at = p->len;

	put16(p, 1024 + tape_below(t, 8));
	put16(p, 53);
	put32(p, 0);
	if (encapsulated)
		put_encapsulated(p, t, depth);
	else
		put_data(p, t);
	set16(p, at + 4, p->len - at + tape_one_in(t, 32));
	if (!tape_one_in(t, 4))
		set_transport_sum(p, t, ip, at, 17, 6);
	if (!encapsulated)
		remember_transport(p, ip, at, 17);
}

/* An error about a packet of ours, or of somebody who says so. */
static void put_icmp(struct packet *p, struct tape *t, int depth)
{
	static const uint16_t types[] = { 0x0304, 0x0301, 0x0302, 0x0303, 0x030d, 0x0b00, 0x0b01,
					  0x0c00, 0x0500, 0x0400, 0x0800, 0x0000 };
	size_t at = p->len, quote;

	put16(p, tape_pick(t, types));
	put16(p, 0);
	put16(p, 0);
	put16(p, tape_one_in(t, 4) ? tape_below(t, 65536) : 1300);
	quote = p->len;
	put_ip4(p, t, depth + 1, true);
	if (tape_one_in(t, 2) && p->len > quote + 64)
		p->len = quote + tape_below(t, 64);
	set_sum(p, t, at, p->len, at + 2, 0);
}

/* ---- tunnel headers */

static void put_labels(struct packet *p, struct tape *t, int depth)
{
	unsigned int more = tape_below(t, 3), label, ttl;

	while (more--)
		put32(p, tape_below(t, 1024) << 12 | 64);
	label = tape_one_in(t, 4) ? tape_below(t, 16) : 100;
	ttl = tape_one_in(t, 16) ? 0 : 64;
	put32(p, label << 12 | 0x100 | ttl);
	if (tape_one_in(t, 8))
		put_data(p, t);
	else
		put_inner(p, t, depth);
}

static void put_erspan(struct packet *p, struct tape *t, int depth)
{
	unsigned int version = 1 + tape_below(t, 2);

	if (tape_one_in(t, 16))
		version = tape_below(t, 16);
	put16(p, version << 12 | tape_below(t, 4096));
	put16(p, tape_below(t, 2) << 10 | (tape_one_in(t, 4) ? tape_below(t, 1024) : 1));
	put32(p, tape_u32(t));
	if (version == 2)
		put32(p, tape_u32(t));
	put_ethernet(p, t, depth + 1);
}

static void put_gre_payload(struct packet *p, struct tape *t, int depth, uint16_t protocol)
{
	switch (protocol) {
	case 0x883e:
		if (tape_one_in(t, 2))
			put32(p, tape_u32(t));
		put_ip4(p, t, depth + 1, false);
		break;
	case 0x6558:
		put_ethernet(p, t, depth + 1);
		break;
	case 0x8847:
	case 0x8848:
		put_labels(p, t, depth + 1);
		break;
	case 0x88be:
	case 0x22eb:
		put_erspan(p, t, depth);
		break;
	case 0x0800:
	case 0x86dd:
		put_inner(p, t, depth + 1);
		break;
	default:
		put_data(p, t);
	}
}

static void put_gre(struct packet *p, struct tape *t, int depth)
{
	static const uint16_t options[] = {
		0, GRE_KEY, GRE_CSUM, GRE_SEQ, GRE_CSUM | GRE_KEY, GRE_CSUM | GRE_SEQ,
		GRE_KEY | GRE_SEQ, GRE_CSUM | GRE_KEY | GRE_SEQ,
	};
	static const uint16_t protocols[] = {
		0x0800, 0x6558, 0x86dd, 0x8847, 0x883e, 0x88be, 0x22eb, 0x8848, 0x880b, 0x2001,
		0x0000, 0x894f,
	};
	uint16_t flags = tape_pick(t, options), protocol = tape_pick(t, protocols);
	size_t at = p->len;

	if (tape_one_in(t, 16))
		flags = tape_below(t, 65536);
	if (protocol == 0x88be && tape_one_in(t, 2))
		flags = GRE_SEQ;
	put16(p, flags);
	put16(p, tape_one_in(t, 32) ? tape_below(t, 65536) : protocol);
	if (flags & GRE_CSUM)
		put32(p, 0);
	if (flags & GRE_KEY)
		put32(p, tape_one_in(t, 16) ? tape_u32(t) : tape_pick(t, keys));
	if (flags & GRE_SEQ)
		put32(p, tape_u32(t) & 0xff);
	put_gre_payload(p, t, depth, protocol);
	if (flags & GRE_CSUM)
		set_sum(p, t, at, p->len, at + 4, 0);
}

/* ---- network headers */

static void put_by_protocol(struct packet *p, struct tape *t, uint8_t protocol,
			    struct outside ip, int depth)
{
	if (depth >= DEPTH_MAX) {
		put_data(p, t);
		return;
	}
	switch (protocol) {
	case 4:
		put_ip4(p, t, depth + 1, false);
		break;
	case 6:
		put_tcp(p, t, ip);
		break;
	case 17:
		put_udp(p, t, ip, depth);
		break;
	case 1:
		put_icmp(p, t, depth);
		break;
	case 41:
		put_inner(p, t, depth + 1);
		break;
	case 47:
		put_gre(p, t, depth);
		break;
	case 137:
		put_labels(p, t, depth);
		break;
	default:
		put_data(p, t);
	}
}

static uint32_t peer(struct tape *t)
{
	return PEERS + tape_below(t, PEERS_COUNT);
}

static uint32_t our_end(struct tape *t)
{
	return ours[tape_one_in(t, 8) ? tape_below(t, 5) : 0];
}

/* Outside: a peer and us. Inside: hosts behind the tunnels. */
static void put_addresses(struct packet *p, struct tape *t, int depth, bool from_us)
{
	if (depth && !from_us) {
		put32(p, 0x0a010000 + tape_below(t, 256));
		put32(p, tape_one_in(t, 8) ? our_end(t) : 0x0a020000 + tape_below(t, 256));
	} else if (from_us) {
		put32(p, our_end(t));
		put32(p, peer(t));
	} else {
		put32(p, tape_one_in(t, 16) ? tape_u32(t) : peer(t));
		put32(p, our_end(t));
	}
}

static void put_ip4(struct packet *p, struct tape *t, int depth, bool from_us)
{
	static const uint8_t outer[] = { 47, 4, 47, 17, 1, 41, 137, 6 };
	static const uint8_t inner[] = { 17, 6, 1, 47, 4, 41, 132, 50 };
	static const uint16_t fragments[] = { 0x2000, 0x2010, 0x0010, 0x1fff, 0x6000 };
	bool is_outer = !depth || from_us;
	uint8_t protocol = is_outer ? tape_pick(t, outer) : tape_pick(t, inner);
	size_t options = tape_one_in(t, 16) ? 4 * tape_below(t, 11) : 0, at = p->len;

	put16(p, 0x4500 | options / 4 << 8 | (tape_one_in(t, 2) ? tape_below(t, 256) : 0));
	put16(p, 0);
	put16(p, tape_below(t, 65536));
	put16(p, tape_one_in(t, 16) ? tape_pick(t, fragments) : tape_below(t, 2) << 14);
	put16(p, (tape_one_in(t, 8) ? tape_below(t, 3) : 64) << 8 | protocol);
	put16(p, 0);
	put_addresses(p, t, depth, from_us);
	memset(p->data + p->len, tape_one_in(t, 2) ? 1 : tape_below(t, 256), options);
	p->len += options;
	put_by_protocol(p, t, protocol, (struct outside){ at, false }, depth);
	set_length(p, t, at + 2, p->len - at);
	set_sum(p, t, at, at + 20 + options, at + 10, 0);
}

static void put_ip6(struct packet *p, struct tape *t, int depth)
{
	static const uint8_t protocols[] = { 17, 6, 58, 44, 0, 41, 4, 47, 59 };
	static const uint8_t prefix[12] = { 0x20, 0x01, 0x0d, 0xb8 };
	uint8_t protocol = tape_pick(t, protocols);
	size_t at = p->len;

	put32(p, 6 << 28 | tape_below(t, 256) << 20);
	put16(p, 0);
	put16(p, protocol << 8 | (tape_one_in(t, 8) ? tape_below(t, 3) : 64));
	put(p, prefix, sizeof(prefix));
	put32(p, 0x00010000 + tape_below(t, 256));
	put(p, prefix, sizeof(prefix));
	put32(p, 0x00020000 + tape_below(t, 256));
	if (protocol == 44 || protocol == 0) {
		put16(p, (protocol ? 17 : 59) << 8);
		put16(p, tape_below(t, 65536));
		put32(p, tape_u32(t));
		put_data(p, t);
	} else {
		put_by_protocol(p, t, protocol, (struct outside){ at, true }, depth);
	}
	set_length(p, t, at + 4, p->len - at - 40);
}

static void put_inner(struct packet *p, struct tape *t, int depth)
{
	if (depth > DEPTH_MAX)
		put_data(p, t);
	else if (tape_below(t, 2))
		put_ip6(p, t, depth);
	else
		put_ip4(p, t, depth, false);
}

static void put_ethernet(struct packet *p, struct tape *t, int depth)
{
	static const uint8_t targets[][6] = {
		{ 2, 0, 0, 0, 0xca, 1 }, { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
		{ 0x01, 0, 0x5e, 0, 0, 1 }, { 1, 0x80, 0xc2, 0, 0, 0 }, { 2, 0, 0, 0, 1, 1 },
	};
	static const uint16_t others[] = { 0x0806, 0x8847, 0x88cc, 0x0000, 0x0027, 0x88be };
	static const uint8_t source[6] = { 2, 0, 0, 0, 1 };
	unsigned int tags = tape_one_in(t, 4) ? 1 + tape_below(t, 2) : 0;

	put(p, tape_pick(t, targets), 6);
	put(p, source, 5);
	put(p, &(uint8_t){ tape_below(t, 16) }, 1);
	while (tags--) {
		put16(p, tape_below(t, 2) ? 0x88a8 : 0x8100);
		put16(p, tape_below(t, 8));
	}
	if (depth > DEPTH_MAX || tape_one_in(t, 8)) {
		put16(p, tape_pick(t, others));
		put_data(p, t);
	} else if (tape_below(t, 2)) {
		put16(p, 0x86dd);
		put_ip6(p, t, depth);
	} else {
		put16(p, 0x0800);
		put_ip4(p, t, depth, false);
	}
}

/* ---- the whole */

static void flip(struct packet *p, struct tape *t)
{
	size_t limit = p->len < 128 ? p->len : 128;

	p->data[tape_below(t, limit)] ^= tape_below(t, 256);
}

static void mutate(struct packet *p, struct tape *t)
{
	unsigned int flips = tape_one_in(t, 8) ? 1 + tape_below(t, 4) : 0;
	bool cut = tape_one_in(t, 8), longer = tape_one_in(t, 16);

	p->mutated = flips || cut || longer;
	while (flips-- && p->len)
		flip(p, t);
	if (cut && p->len)
		p->len = p->len < 160 ? tape_below(t, p->len) : tape_below(t, 160);
	if (longer)
		put_data(p, t);
}

/* Puts what a packet begins with. Return: its EtherType. */
static uint16_t put_first(struct packet *p, struct tape *t, enum packet_layer first)
{
	if (first == LAYER_OUTER) {
		put_ip4(p, t, 0, false);
		return 0x0800;
	}
	if (first == LAYER_ETHERNET) {
		put_ethernet(p, t, 1);
		return 0x6558;
	}
	if (tape_one_in(t, 8)) {
		put_labels(p, t, 1);
		return 0x8847;
	}
	put_inner(p, t, 1);
	return p->len && p->data[0] >> 4 == 6 ? 0x86dd : 0x0800;
}

void packet_leave_checksum(struct packet *p)
{
	const struct outside ip = { p->network, p->ipv6 };

	set16(p, p->transport + packet_checksum_offset(p),
	      pseudo_sum(p, ip, p->transport, p->transport_protocol));
}

void packet_make(struct packet *p, struct tape *t, enum packet_layer first)
{
	p->len = 0;
	p->transport = 0;
	p->unverified = false;
	p->protocol = put_first(p, t, first);
	mutate(p, t);
}
