/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _IPTNL_CARD_H
#define _IPTNL_CARD_H

#include <linux/skbuff.h>

#define CARD_FRAME_MAX	0x12000		/* bytes: a frame that is not cut yet */

/* What says how /dev/ip_tnl_card is read: frames, complaints and counts as text, 64-bit marks. */
enum ip_tnl_card_record { CARD_FRAME, CARD_COMPLAINT, CARD_MARK, CARD_COUNTS };

/* Keep a frame, or a complaint, for the reader of /dev/ip_tnl_card; any context. */
void ip_tnl_card_keep(enum ip_tnl_card_record what, const void *data, unsigned int len);

/*
 * Do what a card does with an skb that the stack gave it: sums up what was
 * left to it, cuts what is a GSO packet, and keeps what comes out. Under the
 * transmit lock. Return: NULL, or what is wrong with the packet.
 */
const char *ip_tnl_card_send(const struct sk_buff *skb);

#endif
