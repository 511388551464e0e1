/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The GRE header on the wire: RFC 2784 (checksum), RFC 2890 (key, sequence
 * number), and the two payloads that stretch it: WCCP and ERSPAN.
 *
 * Header only, so that gre.ko and ip_gre.ko, either of which may be replaced
 * by the kernel's own, read the wire with the same eyes.
 */
#ifndef _IPTNL_GRE_HEADER_H
#define _IPTNL_GRE_HEADER_H

#include <linux/if_tunnel.h>
#include <linux/skbuff.h>
#include <net/erspan.h>
#include <net/gre.h>

/* RFC 2784 2.3: a packet with one of bits 1, 4 and 5 set is to be discarded. */
#define GRE_INVALID_FLAGS	(GRE_ROUTING | GRE_STRICT | cpu_to_be16(0x0400))

/* The options we emit, and the only ones a tunnel can be configured with. */
#define GRE_OPTIONS	(GRE_CSUM | GRE_KEY | GRE_SEQ)

/* What no tunnel can be configured with: another version, source routes. */
#define GRE_UNSUPPORTED_FLAGS	(GRE_VERSION | GRE_ROUTING)

#define GRE_PROTO_WCCP	cpu_to_be16(0x883e)

/**
 * struct gre_header - what one GRE header says
 * @flags: the first 16 bits of the header, network byte order
 * @proto: ethertype of the payload, network byte order
 * @key: key field, network byte order; 0 where absent
 *	For ERSPAN types II and III the session id, wherever @keyed.
 * @seq: sequence number, host byte order; 0 where absent
 * @keyed: whether @key was there
 * @erspan_ver: version of the ERSPAN header that follows, 0 if none does
 * @len: bytes from the first of the GRE header to the payload, or to the
 *	ERSPAN header
 */
struct gre_header {
	__be16	flags;
	__be16	proto;
	__be32	key;
	u32	seq;
	bool	keyed;
	u8	erspan_ver;
	int	len;
};

/**
 * gre_is_erspan() - tell mirrored frames by their ethertype
 * @proto: ethertype in the GRE header, network byte order
 *
 * Return: true if the payload is one.
 */
static inline bool gre_is_erspan(__be16 proto)
{
	return proto == htons(ETH_P_ERSPAN) || proto == htons(ETH_P_ERSPAN2);
}

/**
 * gre_options_len() - bytes of a GRE header that carries these options
 * @flags: GRE wire flags; all but %GRE_OPTIONS are ignored
 *
 * Return: 4, 8, 12 or 16.
 */
static inline int gre_options_len(__be16 flags)
{
	return (int)(GRE_HEADER_SECTION *
		     (1 + hweight16((__force u16)(flags & GRE_OPTIONS))));
}

/* WCCP hides its payload type; version 2 also puts 4 bytes before the packet. */
static inline int gre_parse_wccp(struct sk_buff *skb, int at, __be16 payload,
				 struct gre_header *h)
{
	u8 first, *p;

	h->proto = payload;
	p = skb_header_pointer(skb, at + h->len, 1, &first);
	if (!p)
		return -EINVAL;
	if (*p >> 4 != 4)
		h->len += 4;
	return 0;
}

/* An ERSPAN session is told apart by a number in its own header: our key. */
static inline int gre_parse_erspan(struct sk_buff *skb, int at, struct gre_header *h)
{
	struct erspan_base_hdr base, *p;

	if (h->proto == htons(ETH_P_ERSPAN) && h->len == GRE_HEADER_SECTION)
		return 0;		/* type I has no header of its own */

	p = skb_header_pointer(skb, at + h->len, sizeof(base), &base);
	if (!p)
		return -EINVAL;
	h->key = cpu_to_be32(get_session_id(p));
	h->keyed = true;
	h->erspan_ver = p->ver;
	return 0;
}

/**
 * gre_options_parse() - read the version 0 GRE header of a packet, not what follows it
 * @skb: packet; up to the whole GRE header is pulled into the linear area, so
 *	pointers into it must be read again
 * @at: offset of the GRE header from skb->data
 * @h: filled on success
 *
 * The checksum is not looked at: see gre_checksum_ok().
 *
 * Context: any.
 *
 * Return: 0, or -EINVAL for a header that is cut short, has one
 * of the bits set that RFC 2784 2.3 refuses, or is of another version.
 */
static inline int gre_options_parse(struct sk_buff *skb, int at, struct gre_header *h)
{
	const struct gre_base_hdr *base;
	const __be32 *opt;

	if (!pskb_may_pull(skb, at + sizeof(*base)))
		return -EINVAL;
	base = (const struct gre_base_hdr *)(skb->data + at);
	if (base->flags & (GRE_INVALID_FLAGS | GRE_VERSION))
		return -EINVAL;

	h->flags = base->flags;
	h->proto = base->protocol;
	h->len = gre_options_len(h->flags);
	if (!pskb_may_pull(skb, at + h->len))
		return -EINVAL;

	opt = (const __be32 *)(skb->data + at + sizeof(*base));
	if (h->flags & GRE_CSUM)
		opt++;
	h->keyed = h->flags & GRE_KEY;
	h->erspan_ver = 0;
	h->key = h->keyed ? *opt++ : 0;
	h->seq = h->flags & GRE_SEQ ? ntohl(*opt) : 0;
	return 0;
}

/**
 * gre_payload_parse() - read what WCCP and ERSPAN put behind the GRE header
 * @skb: packet
 * @at: offset of the GRE header from skb->data
 * @wccp: ethertype of WCCP's payload, network byte order
 * @h: from gre_options_parse(); completed
 *
 * Context: any.
 *
 * Return: 0, or -EINVAL for an ERSPAN header that is cut short, or WCCP without a payload.
 */
static inline int gre_payload_parse(struct sk_buff *skb, int at, __be16 wccp,
				    struct gre_header *h)
{
	if (unlikely(h->proto == GRE_PROTO_WCCP && !(h->flags & GRE_OPTIONS)))
		return gre_parse_wccp(skb, at, wccp, h);
	if (unlikely(gre_is_erspan(h->proto)))
		return gre_parse_erspan(skb, at, h);
	return 0;
}

/* Both, for a packet whose payload is in IPv4 if it is WCCP's. */
static inline int gre_header_parse(struct sk_buff *skb, int at, struct gre_header *h)
{
	return gre_options_parse(skb, at, h) ?: gre_payload_parse(skb, at, htons(ETH_P_IP), h);
}

/**
 * gre_checksum_ok() - verify the checksum of a received GRE packet
 * @skb: packet whose data starts at the GRE header and that has %GRE_CSUM set
 *
 * Covers header and payload (RFC 2784 2.4). A good sum is left with the skb
 * for the inner protocol to use.
 *
 * Return: true if it is right.
 */
static inline bool gre_checksum_ok(struct sk_buff *skb)
{
	if (skb_checksum_simple_validate(skb))
		return false;
	skb_checksum_try_convert(skb, IPPROTO_GRE, null_compute_pseudo);
	return true;
}

/**
 * gre_header_push() - put a GRE header before the payload
 * @skb: payload from skb->data on, offloads already prepared for GRE; the
 *	caller made sure of the headroom
 * @flags: %GRE_OPTIONS to carry
 * @proto: ethertype of the payload, network byte order
 * @key: key, network byte order, used with %GRE_KEY
 * @seq: sequence number, host byte order, used with %GRE_SEQ
 *
 * Of a packet that will still be segmented the checksum is left to GSO; of
 * any other it is done here, or by the device, from the inner packet's sum
 * where that is still to be filled in (local checksum offload).
 */
static inline void gre_header_push(struct sk_buff *skb, __be16 flags, __be16 proto,
				   __be32 key, u32 seq)
{
	__be16 options = flags & GRE_OPTIONS;
	struct gre_base_hdr *base;
	__be32 *opt;

	base = skb_push(skb, gre_options_len(options));
	skb_reset_transport_header(skb);
	base->flags = options;
	base->protocol = proto;

	opt = (__be32 *)(base + 1);
	if (options & GRE_CSUM)
		*opt++ = 0;
	if (options & GRE_KEY)
		*opt++ = key;
	if (options & GRE_SEQ)
		*opt = htonl(seq);

	if (!(options & GRE_CSUM) || skb_is_gso(skb))
		return;
	if (skb->ip_summed == CHECKSUM_PARTIAL) {
		*(__sum16 *)(base + 1) = csum_fold(lco_csum(skb));
		return;
	}
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_transport_header(skb) - skb->head;
	skb->csum_offset = sizeof(*base);
}

#endif /* _IPTNL_GRE_HEADER_H */
