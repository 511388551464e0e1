/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _COMPAT_LINUX_SKBUFF_H
#define _COMPAT_LINUX_SKBUFF_H

#include_next <linux/skbuff.h>

#ifndef COMPAT_HAS_SKB_UNSET_TRANSPORT_HEADER
static inline void skb_unset_transport_header(struct sk_buff *skb)
{
	skb->transport_header = (typeof(skb->transport_header))~0U;
}
#endif

/*
 * Where there is SKB_GSO_TCP_FIXEDID_INNER, SKB_GSO_TCP_FIXEDID is about the outermost IP
 * header; but the segmenters of GRE and UDP begin anew, and read it for the inner one, too.
 */

/* Return true if all segments would get one identification in a header pushed before this one. */
static inline bool skb_gso_fixes_outer_id(const struct sk_buff *skb)
{
#ifdef COMPAT_HAS_GSO_TCP_FIXEDID_INNER
	return skb_shinfo(skb)->gso_type & SKB_GSO_TCP_FIXEDID;
#else
	return false;
#endif
}

/*
 * What the packet said of its own header is about the inner one now; and of the outer one
 * too, unless @level: the segmenter knows it by its level. The packet's head is writable.
 */
static inline void skb_gso_push_fixedid(struct sk_buff *skb, bool level)
{
#ifdef COMPAT_HAS_GSO_TCP_FIXEDID_INNER
	if (!skb_is_gso(skb) || !skb_gso_fixes_outer_id(skb))
		return;
	skb_shinfo(skb)->gso_type |= SKB_GSO_TCP_FIXEDID_INNER;
	if (level)
		skb_shinfo(skb)->gso_type &= ~SKB_GSO_TCP_FIXEDID;
#endif
}

/* The outer header is gone: what was said of the inner one is about the packet's own. */
static inline void skb_gso_pull_fixedid(struct sk_buff *skb)
{
#ifdef COMPAT_HAS_GSO_TCP_FIXEDID_INNER
	skb_shinfo(skb)->gso_type &= ~SKB_GSO_TCP_FIXEDID;
	if (skb_shinfo(skb)->gso_type & SKB_GSO_TCP_FIXEDID_INNER)
		skb_shinfo(skb)->gso_type ^= SKB_GSO_TCP_FIXEDID_INNER | SKB_GSO_TCP_FIXEDID;
#endif
}

#endif
