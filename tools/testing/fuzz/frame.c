// SPDX-License-Identifier: GPL-2.0
#include <stdbool.h>
#include <string.h>

#include "frame.h"
#include "packet.h"

#define CSUM_RIGHT	0xffff
#define MORE_FRAGMENTS	0x2000
#define OFFSET		0x1fff
#define TUNNELS_MAX	1024

static void normalise_ethernet(uint8_t *d, size_t len);
static void normalise_ip(uint8_t *d, size_t len);

/* The last sequence number of each tunnel. */
static struct {
	uint32_t peer, key;
	bool ethernet, used;
	uint32_t last;
} tunnels[TUNNELS_MAX];

/* Whether the number is beyond the tunnel's last one. */
static bool advances(uint32_t peer, uint32_t key, bool ethernet, uint32_t number)
{
	unsigned int i;
	bool later;

	for (i = 0; i < TUNNELS_MAX - 1 && tunnels[i].used; i++)
		if (tunnels[i].peer == peer && tunnels[i].key == key &&
		    tunnels[i].ethernet == ethernet)
			break;
	later = !tunnels[i].used || (int32_t)(number - tunnels[i].last) > 0;
	tunnels[i].peer = peer;
	tunnels[i].key = key;
	tunnels[i].ethernet = ethernet;
	tunnels[i].used = true;
	tunnels[i].last = number;
	return later;
}

/* By how much it is wrong; a fragment's covers what is in other fragments, too. */
static void normalise_sum(uint8_t *field, uint32_t sum, bool fragment)
{
	packet_set16(field, fragment ? CSUM_RIGHT : sum);
}

static void normalise_erspan(uint8_t *d, size_t len, bool type3)
{
	size_t header = type3 ? 12 : 8;

	if (len < header)
		return;
	if (type3)
		memset(d + 4, 0, 4);
	if (type3 && d[11] & 1)
		header += 8;
	if (len >= header)
		normalise_ethernet(d + header, len - header);
}

/* In-tree uses up a number for a packet that is dropped after all; iptnl does not. */
static void normalise_sequence(uint8_t *d, uint16_t flags, uint16_t protocol, uint32_t peer)
{
	uint8_t *at = d + 4 + 4 * !!(flags & GRE_CSUM);
	uint32_t key = 0;

	if (flags & GRE_KEY) {
		key = packet_get32(at);
		at += 4;
	}
	if (protocol == 0x88be || protocol == 0x22eb)
		key = 0;
	packet_set32(at, advances(peer, key, protocol != 0x0800 && protocol != 0x86dd,
				  packet_get32(at)));
}

static void normalise_gre(uint8_t *d, size_t len, uint32_t peer, bool fragment)
{
	uint16_t flags, protocol;
	size_t header;

	if (len < 4)
		return;
	flags = packet_get16(d);
	protocol = packet_get16(d + 2);
	header = 4 + 4 * (!!(flags & GRE_CSUM) + !!(flags & GRE_KEY) + !!(flags & GRE_SEQ));
	if (len < header || flags & ~(GRE_CSUM | GRE_KEY | GRE_SEQ))
		return;
	if (flags & GRE_CSUM)
		normalise_sum(d + 4, packet_sum(d, len, 0), fragment);
	if (flags & GRE_SEQ)
		normalise_sequence(d, flags, protocol, peer);
	d += header;
	len -= header;
	if (protocol == 0x0800 || protocol == 0x86dd)
		normalise_ip(d, len);
	else if (protocol == 0x6558)
		normalise_ethernet(d, len);
	else if (protocol == 0x22eb)
		normalise_erspan(d, len, true);
	else if (protocol == 0x88be && flags & GRE_SEQ)
		normalise_erspan(d, len, false);
	else if (protocol == 0x88be)
		normalise_ethernet(d, len);
}

/* With remote checksum offload the receiver puts the inner checksum in. */
static void normalise_gue(uint8_t *d, size_t len, uint32_t peer, bool fragment)
{
	bool remcsum = len > 4 && d[0] & 0x1f;
	size_t header;

	if (len < 4 || d[0] & 0xe0)
		return;
	header = 4 + 4 * (d[0] & 0x1f);
	if (len < header)
		return;
	if (d[1] == 47)
		normalise_gre(d + header, len - header, peer, fragment || remcsum);
	else if (d[1] == 4 || d[1] == 41)
		normalise_ip(d + header, len - header);
}

static void normalise_udp(uint8_t *d, size_t len, uint32_t peer, uint32_t pseudo,
			  bool fragment)
{
	uint16_t port;

	if (len < 8)
		return;
	port = packet_get16(d + 2);
	if (packet_get16(d + 6))
		normalise_sum(d + 6, packet_sum(d, len, pseudo), fragment);
	if (port == FOU_IP4)
		normalise_ip(d + 8, len - 8);
	else if (port == FOU_GRE)
		normalise_gre(d + 8, len - 8, peer, fragment);
	else if (port == FOU_GUE || port == FOU_GUE_CSUM)
		normalise_gue(d + 8, len - 8, peer, fragment);
}

static bool from_this_host(const uint8_t *address)
{
	static const uint8_t underlay[] = { 192, 0, 2 }, bridge[] = { 10, 3, 0, 1 };

	return (!memcmp(address, underlay, 3) && address[3] < 16) || !memcmp(address, bridge, 4) ||
	       address[0] == 127;
}

/* 0 and 0xffff are the same. */
static void normalise_tcp(uint8_t *d, size_t len)
{
	if (len >= 20 && !packet_get16(d + 16))
		packet_set16(d + 16, 0xffff);
}

/* Fragments of UDP packets that came with GSO_UDP get an identification here. */
static void normalise_ip6(uint8_t *d, size_t len)
{
	if (len < 48)
		return;
	if (d[6] == 44)
		packet_set32(d + 44, 0);
	else if (d[6] == 6)
		normalise_tcp(d + 40, len - 40);
}

static void normalise_ip(uint8_t *d, size_t len)
{
	size_t header, total;
	uint16_t offset;
	bool fragment;

	if (len < 20)
		return;
	if (d[0] >> 4 == 6)
		normalise_ip6(d, len);
	header = 4 * (d[0] & 15);
	total = packet_get16(d + 2);
	if (d[0] >> 4 != 4 || header < 20 || total < header || total > len)
		return;
	if (d[9] == 6 && !(packet_get16(d + 6) & OFFSET))
		normalise_tcp(d + header, total - header);
	if (!from_this_host(d + 12))
		return;
	normalise_sum(d + 10, packet_sum(d, header, 0), false);
	packet_set16(d + 4, 0);
	offset = packet_get16(d + 6);
	if (offset & OFFSET)
		return;
	fragment = offset & MORE_FRAGMENTS;
	if (d[9] == 4 || d[9] == 41)
		normalise_ip(d + header, total - header);
	else if (d[9] == 47)
		normalise_gre(d + header, total - header, packet_get32(d + 16), fragment);
	else if (d[9] == 17)
		normalise_udp(d + header, total - header, packet_get32(d + 16),
			      packet_sum(d + 12, 8, 17 + total - header), fragment);
}

static void normalise_ethernet(uint8_t *d, size_t len)
{
	size_t header = 14;
	uint16_t type = 0;

	while (len >= header) {
		type = packet_get16(d + header - 2);
		if (type != 0x8100 && type != 0x88a8)
			break;
		header += 4;
	}
	if (len > header && (type == 0x0800 || type == 0x86dd))
		normalise_ip(d + header, len - header);
}

void frame_normalise(uint8_t *frame, size_t len)
{
	normalise_ethernet(frame, len);
}

/* FNV-1a, with a final mix, since the hashes are added. */
uint64_t frame_hash(const uint8_t *frame, size_t len)
{
	uint64_t hash = 0xcbf29ce484222325;

	while (len--)
		hash = (hash ^ *frame++) * 0x100000001b3;
	hash = (hash ^ (hash >> 31)) * 0x94d049bb133111eb;
	return hash ^ (hash >> 29);
}
