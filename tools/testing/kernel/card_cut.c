// SPDX-License-Identifier: GPL-2.0
/*
 * The work of a network card, in software: the checksum that was left to it,
 * and the cutting of GSO packets. It reads the frame itself, from the Ethernet
 * header on, and uses none of the kernel's own segmenters and checksums, so
 * that it can judge them.
 *
 * Two sorts of cutting. A card that knows a tunnel header writes every length,
 * identification and checksum anew. One that does not (GSO_PARTIAL) gets outer
 * headers that are right for each segment, and only copies them; the outer
 * identification counts up where fragments are allowed, else it stays.
 */
#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/mpls.h>
#include <linux/slab.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/gre.h>

#include "card.h"

#define LAYERS	12
#define PORT_FOU_IPIP	5551
#define PORT_FOU_GRE	5552
#define PORT_GUE	5553

enum layer_type { IPV4, IPV6, UDP_TUNNEL, GRE, TRANSPORT };

struct layer {
	enum layer_type	type;
	unsigned int	at;
};

/* A GSO packet and how it is built. */
struct work {
	u8		*data;
	unsigned int	len;
	unsigned int	hlen;		/* before the payload */
	unsigned int	inner;		/* where the innermost network header is */
	unsigned int	gso_size;
	u32		gso_type;
	u8		protocol;	/* TCP or UDP */
	int		layers;
	struct layer	layer[LAYERS];
};

static u8 ip_tnl_card_in[CARD_FRAME_MAX], ip_tnl_card_out[CARD_FRAME_MAX];
static DEFINE_SPINLOCK(card_lock);	/* those two */

/* ---- checksums, RFC 1071 */

static u32 sum(u32 start, const u8 *data, unsigned int len)
{
	u64 total = start;
	unsigned int i;

	for (i = 0; i + 1 < len; i += 2)
		total += data[i] << 8 | data[i + 1];
	if (len & 1)
		total += data[len - 1] << 8;
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return total;
}

static u32 get16(const u8 *data)
{
	return data[0] << 8 | data[1];
}

static void put16(u8 *data, u32 value)
{
	data[0] = value >> 8;
	data[1] = value;
}

static u32 get32(const u8 *data)
{
	return get16(data) << 16 | get16(data + 2);
}

static void put32(u8 *data, u32 value)
{
	put16(data, value >> 16);
	put16(data + 2, value);
}

/* ---- reading the headers */

static bool add_layer(struct work *w, enum layer_type type, unsigned int at)
{
	if (w->layers == LAYERS)
		return false;
	w->layer[w->layers++] = (struct layer) { .type = type, .at = at };
	return true;
}

/* Past VLAN tags and labels. Return: where the network header is, *proto its ethertype; 0: none */
static unsigned int past_ethernet(const struct work *w, unsigned int at, u32 *proto)
{
	*proto = get16(w->data + at + 12);
	at += ETH_HLEN;
	while (*proto == ETH_P_8021Q || *proto == ETH_P_8021AD) {
		*proto = get16(w->data + at + 2);
		at += VLAN_HLEN;
	}
	return at;
}

static unsigned int past_labels(const struct work *w, unsigned int at, u32 *proto)
{
	if (*proto != ETH_P_MPLS_UC)
		return at;
	do
		at += 4;
	while (at + 4 < w->len && !(w->data[at - 2] & 1));
	*proto = w->data[at] >> 4 == 6 ? ETH_P_IPV6 : ETH_P_IP;
	return at;
}

static unsigned int gre_length(u32 flags)
{
	return 4 + (flags & 0x8000 ? 4 : 0) + (flags & 0x2000 ? 4 : 0) + (flags & 0x1000 ? 4 : 0);
}

/* The UDP ports say what is inside. Return: where it starts, *proto its protocol */
static unsigned int past_udp(const struct work *w, unsigned int at, u8 *proto)
{
	switch (get16(w->data + at + 2)) {
	case PORT_FOU_IPIP:
		*proto = IPPROTO_IPIP;
		return at + 8;
	case PORT_FOU_GRE:
		*proto = IPPROTO_GRE;
		return at + 8;
	case PORT_GUE:
		*proto = w->data[at + 9];
		return at + 8 + 4 + 4 * (w->data[at + 8] & 0x1f);
	}
	return 0;
}

/* Up to the transport header at @end. */
static const char *read_headers(struct work *w, unsigned int end)
{
	u32 proto;
	unsigned int at = past_labels(w, past_ethernet(w, 0, &proto), &proto);
	u8 next = 0;

	while (at < end) {
		w->inner = at;
		if (proto == ETH_P_IP) {
			next = w->data[at + 9];
			if (!add_layer(w, IPV4, at))
				break;
			at += 4 * (w->data[at] & 15);
		} else if (proto == ETH_P_IPV6) {
			next = w->data[at + 6];
			if (!add_layer(w, IPV6, at))
				break;
			at += 40;
		} else {
			return "GSO packet of an unknown ethertype";
		}
		if (at == end)
			break;
		if (next == IPPROTO_UDP) {
			add_layer(w, UDP_TUNNEL, at);
			at = past_udp(w, at, &next);
			if (!at)
				return "GSO packet with a UDP header that is no tunnel's";
		}
		if (next == IPPROTO_GRE) {
			if (!add_layer(w, GRE, at))
				break;
			proto = get16(w->data + at + 2);
			at += gre_length(get16(w->data + at));
			if (proto == ETH_P_TEB)
				at = past_ethernet(w, at, &proto);
			at = past_labels(w, at, &proto);
		} else if (next == IPPROTO_IPIP) {
			proto = ETH_P_IP;
		} else if (next == IPPROTO_IPV6) {
			proto = ETH_P_IPV6;
		} else if (next == IPPROTO_MPLS) {
			proto = ETH_P_MPLS_UC;
			at = past_labels(w, at, &proto);
		} else {
			return "GSO packet with an unknown header";
		}
	}
	if (at != end || !w->layers)
		return "the transport header is not where the GSO packet says";
	w->protocol = next;
	add_layer(w, TRANSPORT, at);
	return NULL;
}

/* ---- one segment */

static u32 pseudo_header(const u8 *net, bool v6, u8 protocol, u32 len)
{
	return v6 ? sum(protocol + len, net + 8, 32) : sum(protocol + len, net + 12, 8);
}

static void sum_up(u8 *from, unsigned int len, u8 *field, u32 start, bool udp)
{
	u32 value;

	put16(field, 0);
	value = ~sum(start, from, len) & 0xffff;
	put16(field, value || !udp ? value : 0xffff);
}

static void finish_transport(const struct work *w, u8 *seg, unsigned int len, unsigned int at,
			     unsigned int offset)
{
	u8 *net = seg + w->inner, *th = seg + at;
	bool v6 = net[0] >> 4 == 6;
	u32 start = pseudo_header(net, v6, w->protocol, len - at);

	if (w->protocol == IPPROTO_UDP) {
		put16(th + 4, len - at);
		sum_up(th, len - at, th + 6, start, true);
		return;
	}
	put32(th + 4, get32(th + 4) + offset);
	if (w->hlen + offset + w->gso_size < w->len)
		th[13] &= ~0x09;	/* FIN and PSH are for the last */
	if (offset)
		th[13] &= ~0x80;	/* CWR for the first */
	sum_up(th, len - at, th + 16, start, false);
}

static bool counts_up(const struct work *w, const u8 *ip, unsigned int at)
{
	bool df = ip[6] & 0x40;

	if (at == w->inner)
		return !(w->gso_type & SKB_GSO_TCP_FIXEDID);
	return !(w->gso_type & SKB_GSO_PARTIAL) || !df;
}

static void finish_ipv4(const struct work *w, u8 *seg, unsigned int len, unsigned int at,
			unsigned int n)
{
	u8 *ip = seg + at;

	if (counts_up(w, ip, at))
		put16(ip + 4, get16(ip + 4) + n);
	if (at == w->inner || !(w->gso_type & SKB_GSO_PARTIAL))
		put16(ip + 2, len - at);
	sum_up(ip, 4 * (ip[0] & 15), ip + 10, 0, false);
}

static void finish_udp_tunnel(const struct work *w, u8 *seg, unsigned int len, int i)
{
	unsigned int net = w->layer[i - 1].at, at = w->layer[i].at;
	bool v6 = w->layer[i - 1].type == IPV6;

	put16(seg + at + 4, len - at);
	if (w->gso_type & SKB_GSO_UDP_TUNNEL_CSUM)
		sum_up(seg + at, len - at, seg + at + 6,
		       pseudo_header(seg + net, v6, IPPROTO_UDP, len - at), true);
}

/* From the inside out: a checksum covers what is behind it. */
static void finish(const struct work *w, u8 *seg, unsigned int len, unsigned int offset,
		   unsigned int n)
{
	bool copied = w->gso_type & SKB_GSO_PARTIAL;
	int i;

	for (i = w->layers - 1; i >= 0; i--) {
		unsigned int at = w->layer[i].at;

		/* Those before the innermost network header are right already. */
		if (copied && at < w->inner && w->layer[i].type != IPV4)
			continue;
		switch (w->layer[i].type) {
		case TRANSPORT:
			finish_transport(w, seg, len, at, offset);
			break;
		case IPV4:
			finish_ipv4(w, seg, len, at, n);
			break;
		case IPV6:
			put16(seg + at + 4, len - at - 40);
			break;
		case GRE:
			if (w->gso_type & SKB_GSO_GRE_CSUM)
				sum_up(seg + at, len - at, seg + at + 4, 0, false);
			break;
		case UDP_TUNNEL:
			finish_udp_tunnel(w, seg, len, i);
			break;
		}
	}
}

/* Lengths are needed by the pseudo header before they are written. */
static const char *cut(struct work *w)
{
	u8 *seg = ip_tnl_card_out;
	unsigned int offset = 0, n = 0;

	while (w->hlen + offset < w->len) {
		unsigned int size = min(w->gso_size, w->len - w->hlen - offset);

		memcpy(seg, w->data, w->hlen);
		memcpy(seg + w->hlen, w->data + w->hlen + offset, size);
		finish(w, seg, w->hlen + size, offset, n++);
		ip_tnl_card_keep(CARD_FRAME, seg, w->hlen + size);
		offset += size;
	}
	return NULL;
}

static const char *send_gso(const struct sk_buff *skb)
{
	unsigned int end = skb->encapsulation ? skb_inner_transport_offset(skb) :
						skb_transport_offset(skb);
	const char *wrong;
	struct work w = {
		.data		= ip_tnl_card_in,
		.len		= skb->len,
		.gso_size	= skb_shinfo(skb)->gso_size,
		.gso_type	= skb_shinfo(skb)->gso_type,
	};

	if (end + 8 > skb->len)
		return "the transport header is not in the GSO packet";
	wrong = read_headers(&w, end);
	if (wrong)
		return wrong;
	if (skb->ip_summed != CHECKSUM_PARTIAL || skb_checksum_start_offset(skb) != end)
		return "the checksum of the GSO packet is not that of its transport header";
	if (w.protocol != (w.gso_type & SKB_GSO_UDP_L4 ? IPPROTO_UDP : IPPROTO_TCP))
		return "the GSO packet's protocol is not that of its type";
	w.hlen = end + (w.protocol == IPPROTO_UDP ? 8 : 4 * (w.data[end + 12] >> 4));
	if (w.hlen >= w.len)
		return "the GSO packet has no payload";
	return cut(&w);
}

/* All that a card with NETIF_F_IP_CSUM sums up: TCP and UDP, in nothing but IP. */
static bool is_plain(const u8 *frame, unsigned int start)
{
	if (get16(frame + 12) == ETH_P_IP)
		return start == ETH_HLEN + 4 * (frame[ETH_HLEN] & 15) &&
		       (frame[ETH_HLEN + 9] == IPPROTO_TCP || frame[ETH_HLEN + 9] == IPPROTO_UDP);
	return get16(frame + 12) == ETH_P_IPV6 && start == ETH_HLEN + 40 &&
	       (frame[ETH_HLEN + 6] == IPPROTO_TCP || frame[ETH_HLEN + 6] == IPPROTO_UDP);
}

static const char *send_one(const struct sk_buff *skb)
{
	unsigned int start, field;
	u32 value;

	if (skb->ip_summed == CHECKSUM_PARTIAL) {
		start = skb_checksum_start_offset(skb);
		field = start + skb->csum_offset;
		if (field + 2 > skb->len)
			return "the place of the checksum is behind the packet";
		if (!(skb->dev->features & NETIF_F_HW_CSUM) && !is_plain(ip_tnl_card_in, start))
			return "a checksum that only NETIF_F_HW_CSUM could sum up";
		value = ~sum(0, ip_tnl_card_in + start, skb->len - start) & 0xffff;
		put16(ip_tnl_card_in + field, value ?: 0xffff);
	}
	ip_tnl_card_keep(CARD_FRAME, ip_tnl_card_in, skb->len);
	return NULL;
}

const char *ip_tnl_card_send(const struct sk_buff *skb)
{
	const char *wrong = "the packet is too long, or cannot be copied";

	spin_lock_bh(&card_lock);
	if (skb->len <= CARD_FRAME_MAX && !skb_copy_bits(skb, 0, ip_tnl_card_in, skb->len))
		wrong = skb_is_gso(skb) ? send_gso(skb) : send_one(skb);
	spin_unlock_bh(&card_lock);
	return wrong;
}
