/* SPDX-License-Identifier: GPL-2.0 */
/* Packets by choices off a tape: most are right, and now and then a field is wrong. */
#ifndef _IPTNL_FUZZ_PACKET_H
#define _IPTNL_FUZZ_PACKET_H

#include <stdint.h>

#include "tape.h"

#define PACKET_MAX 0x11000	/* bytes, as CARD_FRAME_MAX allows and GSO packets need */

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
	/* The innermost TCP or UDP header; its offset from data is 0 if there is none. */
	size_t transport;
	uint8_t transport_protocol;
	bool ipv6;
};

void packet_make(struct packet *p, struct tape *t, enum packet_layer first);

#endif
