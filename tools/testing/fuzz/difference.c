// SPDX-License-Identifier: GPL-2.0
#include <stdbool.h>

#include "difference.h"

#define GRE_VERSION	0x0007
#define GRE_RECURSION	0x0c00		/* RFC 1701's, of which in-tree takes note */
#define GRE_RESERVED	0x0078
#define GRE_ROUTING	0x4000
#define GRE_IN_TREE_MIN	12
#define GSO_SIZE_MAX	600		/* with headers: world.py's smallest path MTU */
#define CE		3
#define LOCAL		0xc0000201	/* 192.0.2.1, the local address of all that have a remote */

/* What the headers further out say. */
struct outside {
	uint32_t source, target;
	bool ce;
};

static const char *look_ethernet(const uint8_t *d, size_t len, struct outside outside);
static const char *look_ip(const uint8_t *d, size_t len, struct outside outside);

/* Types II and III, which are versions 1 and 2, have a header of 8 and 12 bytes. */
static const char *look_erspan(const uint8_t *d, size_t len, struct outside outside)
{
	unsigned int version = len ? d[0] >> 4 : 0;
	size_t header = version == 2 ? 12 : 8;

	if (len < header)
		return "truncated ERSPAN header";
	if (version != 1 && version != 2)
		return "ERSPAN versions above 2";
	if (version == 2 && d[11] & 1)
		return "erspan: platform header";
	return look_ethernet(d + header, len - header, outside);
}

/* Whether the tunnels that could take it have checksums on; see OPTIONS of world.py. */
static bool expects_checksum(struct outside ip, bool has_key, uint32_t key, uint16_t protocol)
{
	bool ethernet = protocol == 0x6558, erspan = protocol == 0x88be || protocol == 0x22eb;
	uint32_t n = ip.source - PEERS;

	if (erspan || n >= PEERS_COUNT || ip.target != LOCAL || (ethernet && n % 3 == 0))
		return false;
	switch (n % 8) {
	case 2:
		return ethernet ? has_key && key == 2 : !has_key;
	case 4:
		return has_key && key == 7;
	case 7:
		return has_key && !key;
	default:
		return false;
	}
}

static const char *look_gre_payload(const uint8_t *d, size_t len, uint16_t flags,
				    uint16_t protocol, struct outside outside)
{
	switch (protocol) {
	case 0x0800:
	case 0x86dd:
	case 0x883e:
		return look_ip(d, len, outside);
	case 0x6558:
		return look_ethernet(d, len, outside);
	case 0x22eb:
		return flags ? look_erspan(d, len, outside) :
			       "ERSPAN type III without sequence number";
	case 0x88be:
		return flags ? look_erspan(d, len, outside) : look_ethernet(d, len, outside);
	default:
		return NULL;
	}
}

static const char *look_gre(const uint8_t *d, size_t len, struct outside outside)
{
	uint16_t flags, protocol;
	size_t at = 4;
	uint32_t key = 0;

	if (len < 4)
		return NULL;
	flags = packet_get16(d);
	protocol = packet_get16(d + 2);
	if (flags & GRE_VERSION || flags & GRE_ROUTING)
		return NULL;
	if (flags & GRE_RECURSION)
		return "GRE bits 4 and 5 set";
	if (flags & GRE_RESERVED)
		return "GRE reserved bits 9 to 12 set";
	if (len < GRE_IN_TREE_MIN)
		return "GRE packet of 4 to 11 bytes";
	at += 4 * !!(flags & GRE_CSUM);
	if (flags & GRE_KEY) {
		key = packet_get32(d + at);
		at += 4;
	}
	at += 4 * !!(flags & GRE_SEQ);
	if (flags & GRE_CSUM &&
	    !expects_checksum(outside, flags & GRE_KEY, key, protocol))
		return "GRE packet with a checksum, tunnel without icsum";
	if (len < at)
		return NULL;
	return look_gre_payload(d + at, len - at, flags, protocol, outside);
}

static const char *look_gue(const uint8_t *d, size_t len, struct outside outside)
{
	size_t header;

	if (len < 4)
		return NULL;
	header = 4 + 4 * (d[0] & 0x1f);
	if (d[0] & 0xc0)
		return look_ip(d, len, outside);
	if (len < header)
		return NULL;
	if (d[1] == 47)
		return look_gre(d + header, len - header, outside);
	return d[1] == 4 ? look_ip(d + header, len - header, outside) : NULL;
}

static const char *look_udp(const uint8_t *d, size_t len, struct outside outside)
{
	if (len < 8)
		return NULL;
	switch (packet_get16(d + 2)) {
	case FOU_IP4:
		return look_ip(d + 8, len - 8, outside);
	case FOU_GRE:
		return look_gre(d + 8, len - 8, outside);
	case FOU_GUE:
	case FOU_GUE_CSUM:
		return look_gue(d + 8, len - 8, outside);
	default:
		return NULL;
	}
}

/* Learned by in-tree for the interface it came in by, which those peers are not behind. */
static const char *look_icmp(const uint8_t *d, size_t len)
{
	if (len < 28 || (d[0] != 3 && d[0] != 5) || d[17] != 47)
		return NULL;
	return "path MTU and redirect of a gre tunnel";
}

static const char *look_labels(const uint8_t *d, size_t len, struct outside outside)
{
	while (len >= 4) {
		bool last = d[2] & 1;

		if (!d[3])
			return "payload with TTL 0";
		d += 4;
		len -= 4;
		if (last)
			break;
	}
	return look_ip(d, len, outside);
}

static bool is_ours(uint32_t address)
{
	return (address & ~15u) == (LOCAL & ~15u) || address >> 28 >= 14 || address >> 24 == 127;
}

static const char *look_ip4(const uint8_t *ip, size_t len, struct outside outside)
{
	size_t header = 4 * (ip[0] & 15), total;
	const uint8_t *d = ip + header;

	if (len < 20 || header < 20)
		return NULL;
	total = packet_get16(ip + 2);
	if (!ip[8])
		return "payload with TTL 0";
	if (total < header || total > len || packet_get16(ip + 6) & 0x1fff)
		return NULL;
	len = total - header;
	outside.ce |= (ip[1] & CE) == CE;
	outside.source = packet_get32(ip + 12);
	outside.target = packet_get32(ip + 16);
	switch (ip[9]) {
	case 1:
		return look_icmp(d, len);
	case 4:
	case 41:
		return look_ip(d, len, outside);
	case 17:
		return is_ours(outside.target) ? look_udp(d, len, outside) : NULL;
	case 47:
		return is_ours(outside.target) ? look_gre(d, len, outside) : NULL;
	case 137:
		return look_labels(d, len, outside);
	default:
		return NULL;
	}
}

static const char *look_ip(const uint8_t *d, size_t len, struct outside outside)
{
	if (!len)
		return NULL;
	if (d[0] >> 4 == 4)
		return look_ip4(d, len, outside);
	if (d[0] >> 4 != 6)
		return "payload with an IP header of another version";
	if (len < 40)
		return NULL;
	if (!d[7])
		return "payload with TTL 0";
	return d[6] == 4 || d[6] == 41 ? look_ip(d + 40, len - 40, outside) : NULL;
}

static const char *look_ethernet(const uint8_t *d, size_t len, struct outside outside)
{
	uint16_t type;

	if (len < 14)
		return NULL;
	type = packet_get16(d + 12);
	if (type == 0x8100 || type == 0x88a8)
		return outside.ce ? "VLAN-tagged frame in gretap, outer header marked CE" :
				    "VLAN-tagged frame sent into gretap";
	if (len > 14 && ((type == 0x0800 && d[14] >> 4 != 4) ||
			 (type == 0x86dd && d[14] >> 4 != 6)))
		return "payload with an IP header of another version";
	return type == 0x0800 || type == 0x86dd ? look_ip(d + 14, len - 14, outside) : NULL;
}

const char *difference(const struct packet *p, enum packet_layer first)
{
	const struct outside none = { .source = 0 };

	if (first == LAYER_ETHERNET)
		return look_ethernet(p->data, p->len, none);
	return look_ip(p->data, p->len, none);
}

const char *difference_gso(uint16_t gso_size)
{
	return gso_size > GSO_SIZE_MAX ? "GSO packet larger than the path MTU" : NULL;
}
