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

#endif
