/* SPDX-License-Identifier: GPL-2.0 */
/* Packets by choices off a tape: most are right, and now and then a field is wrong. */
#ifndef _IPTNL_FUZZ_PACKET_H
#define _IPTNL_FUZZ_PACKET_H

#include <stddef.h>
#include <stdint.h>

#include "tape.h"

#define PACKET_MAX 0x11000	/* bytes, as CARD_FRAME_MAX allows and GSO packets need */

#define GRE_CSUM	0x8000
#define GRE_KEY		0x2000
#define GRE_SEQ		0x1000

/* As in world.py: UDP ports, and the peers 192.0.2.16 and up. */
#define FOU_IP4		5555
#define FOU_GRE		5556
#define FOU_GUE		5557
#define FOU_GUE_CSUM	5558
#define PEERS		0xc0000210
#define PEERS_COUNT	96

/* What a packet begins with. */
enum packet_layer {
	LAYER_OUTER,		/* a tunnel packet for us, or an ICMP error about one of ours */
	LAYER_INNER,		/* what is sent into a tunnel: IPv4, IPv6 or MPLS */
	LAYER_ETHERNET,		/* the same in an Ethernet frame, perhaps with VLAN tags */
};

struct packet {
	uint8_t data[PACKET_MAX];
	size_t len;
	uint16_t protocol;	/* EtherType of what data begins with, in host order */
	/* The innermost TCP or UDP header, and its IP header; transport is 0 if there is none. */
	size_t transport, network;
	uint8_t transport_protocol;
	bool ipv6;
	bool mutated;		/* so its lengths may be wrong */
	bool unverified;	/* a checksum or a length is wrong, so no card verified it */
};

static inline uint16_t packet_get16(const uint8_t *from)
{
	return from[0] << 8 | from[1];
}

static inline uint32_t packet_get32(const uint8_t *from)
{
	return (uint32_t)packet_get16(from) << 16 | packet_get16(from + 2);
}

static inline void packet_set16(uint8_t *to, uint16_t value)
{
	to[0] = value >> 8;
	to[1] = value;
}

static inline void packet_set32(uint8_t *to, uint32_t value)
{
	packet_set16(to, value >> 16);
	packet_set16(to + 2, value);
}

/* Where the checksum is in the transport header. */
static inline size_t packet_checksum_offset(const struct packet *p)
{
	return p->transport_protocol == 6 ? 16 : 6;
}

/* The one's complement sum of 16-bit words, from a start value. */
uint32_t packet_sum(const uint8_t *data, size_t len, uint32_t start);

/* Put the sum of the pseudo header where the checksum goes, as for a checksum offload. */
void packet_leave_checksum(struct packet *p);

void packet_make(struct packet *p, struct tape *t, enum packet_layer first);

#endif
