// SPDX-License-Identifier: GPL-2.0
/*
 * Sequence numbers of GSO packets. doc/design/numbered-gso.md has the reasons.
 *
 * The kernel's GRE segmenter puts the same header before all segments of a packet, but
 * each is to have a sequence number of its own (RFC 2890 2.2). So that TCP's GSO packets
 * need not be segmented before the tunnel, this file stands in front of that segmenter in
 * inet_offloads[]: it lets it work, and adds 0, 1, 2, ... to the numbers in the segments.
 *
 * A network card would not count. So the GSO type of numbered packets includes
 * %IP_TNL_GSO_NUMBERED, SCTP's, which no card offers in a tunnel; software devices, such
 * as veth and VLANs, pass it on. So a packet is numbered when it is segmented for the
 * first card. A tunnel that receives a GSO packet takes as many numbers as it has
 * segments.
 */
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <net/gre.h>
#include <net/protocol.h>

#include "gre_header.h"
#include "ip_tnl_internal.h"

static const struct net_offload *gre_kernel_offload;
static struct net_offload gre_numbered_offload __read_mostly;

/* Somebody who has hooked in front of us may still call us, so this module stays. */
static bool gre_hook_pinned;

/* @opt: what follows the base header */
static __be32 *gre_seq_field(const struct gre_base_hdr *base, __be32 *opt)
{
	return opt + !!(base->flags & GRE_CSUM) + !!(base->flags & GRE_KEY);
}

/* Return true if the device will compute the checksum of the header at @base. */
static bool gre_checksum_is_left(const struct sk_buff *seg, const void *base)
{
	return seg->ip_summed == CHECKSUM_PARTIAL && skb_checksum_start(seg) == base;
}

/* Adds @n to the sequence number; a checksum that is complete is updated (RFC 1624). */
static void gre_seq_add(struct sk_buff *seg, struct gre_base_hdr *base, u32 n)
{
	__be32 *opt = (__be32 *)(base + 1);
	__be32 *seq = gre_seq_field(base, opt);
	__be32 old = *seq;

	*seq = htonl(ntohl(old) + n);
	if (base->flags & GRE_CSUM && !gre_checksum_is_left(seg, base))
		csum_replace4((__sum16 *)opt, old, *seq);
}

/*
 * gso_segment callback; skb->data is at the GRE header. In each segment that is at the
 * same offset from the MAC header, and all headers are linear.
 */
static struct sk_buff *gre_gso_segment_numbered(struct sk_buff *skb, netdev_features_t features)
{
	int at = skb->data - skb_mac_header(skb);
	struct sk_buff *segs, *seg;
	__be16 flags;
	u32 n = 0;

	if (unlikely(!pskb_may_pull(skb, sizeof(struct gre_base_hdr))))
		return ERR_PTR(-EINVAL);
	flags = ((struct gre_base_hdr *)skb->data)->flags;
	if (likely(!(flags & GRE_SEQ)) || flags & GRE_VERSION)
		return gre_kernel_offload->callbacks.gso_segment(skb, features);
	if (!pskb_may_pull(skb, gre_options_len(flags)))
		return ERR_PTR(-EINVAL);

	/* Nobody would number what a device segments further. */
	segs = gre_kernel_offload->callbacks.gso_segment(skb, features & ~NETIF_F_GSO_PARTIAL);
	if (!IS_ERR(segs))
		for (seg = segs; seg; seg = seg->next)
			gre_seq_add(seg, (struct gre_base_hdr *)(skb_mac_header(seg) + at), n++);
	return segs;
}

/* What was in the place of @old, which is replaced by @new if it was still there. */
static const struct net_offload *gre_replace_offload(const struct net_offload *old,
						     const struct net_offload *new)
{
	return cmpxchg((const struct net_offload __force **)&inet_offloads[IPPROTO_GRE], old, new);
}

/**
 * ip_tnl_gso_hook() - number the segments of GRE packets from now on
 *
 * Context: process; ip_gre, when it is loaded.
 *
 * Return: 0, -ENOPROTOOPT if the kernel has no GRE segmenter, -EBUSY if somebody
 * replaces it at the same time.
 */
int ip_tnl_gso_hook(void)
{
	const struct net_offload *old = rcu_access_pointer(inet_offloads[IPPROTO_GRE]);

	/* Still called by the other hook, unless somebody has put the kernel's own back. */
	if (gre_hook_pinned && old != gre_kernel_offload)
		return 0;
	if (!old) {
		pr_err("ip_gre: the kernel has no segmenter for GRE\n");
		return -ENOPROTOOPT;
	}
	gre_kernel_offload = old;
	gre_numbered_offload = *old;
	gre_numbered_offload.callbacks.gso_segment = gre_gso_segment_numbered;
	return gre_replace_offload(old, &gre_numbered_offload) == old ? 0 : -EBUSY;
}
EXPORT_SYMBOL_GPL(ip_tnl_gso_hook);

/**
 * ip_tnl_gso_unhook() - undo ip_tnl_gso_hook()
 *
 * If somebody has hooked in front of us since, this module stays loaded until they have
 * gone and ip_gre has been loaded and unloaded once more. All segments of numbered
 * packets that are still in a queue get one number when they are segmented after this.
 *
 * Context: process; ip_gre, when it is unloaded.
 */
void ip_tnl_gso_unhook(void)
{
	if (gre_replace_offload(&gre_numbered_offload, gre_kernel_offload) !=
	    &gre_numbered_offload) {
		if (!gre_hook_pinned) {
			pr_warn("ip_tunnel_core: pinned, the GRE segmenter has another hook\n");
			__module_get(THIS_MODULE);
		}
		gre_hook_pinned = true;
		return;
	}
	synchronize_net();
	if (gre_hook_pinned)
		module_put(THIS_MODULE);
	gre_hook_pinned = false;
}
EXPORT_SYMBOL_GPL(ip_tnl_gso_unhook);
