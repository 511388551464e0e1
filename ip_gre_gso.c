// SPDX-License-Identifier: GPL-2.0
/*
 * Numbered super-packets. The kernel's GRE segmenter puts one and the same
 * header before all segments of a packet, but each is to have a sequence number
 * of its own (RFC 2890 section 2.2). So that TCP's super-packets need not be cut
 * before the tunnel, this stands before that segmenter, lets it work, and counts
 * the numbers up in what comes out.
 *
 * A network card would not count. So numbered super-packets have the type of
 * SCTP's beside their own: no card segments those, while devices that are only
 * software, as veth and vlan, leave all types as they are. A packet is numbered
 * once, when it is cut before the first card. What a tunnel receives whole has as
 * many numbers as segments.
 */
#include <linux/rcupdate.h>
#include <net/gre.h>
#include <net/protocol.h>

#include "gre_header.h"
#include "ip_gre.h"

static const struct net_offload *gre_kernel_offload;

/* @opt: what follows the base header */
static __be32 *gre_seq_field(const struct gre_base_hdr *base, __be32 *opt)
{
	return opt + !!(base->flags & GRE_CSUM) + !!(base->flags & GRE_KEY);
}

/* Whether the checksum of the header at @base is still to be computed: it will cover what is there then. */
static bool gre_checksum_is_left(const struct sk_buff *seg, const void *base)
{
	return seg->ip_summed == CHECKSUM_PARTIAL && skb_checksum_start(seg) == base;
}

/* Adds @n to the sequence number, and a checksum that is there already follows (RFC 1624). */
static void gre_count_up(struct sk_buff *seg, struct gre_base_hdr *base, u32 n)
{
	__be32 *opt = (__be32 *)(base + 1);
	__be32 *seq = gre_seq_field(base, opt);
	__be32 old = *seq;

	*seq = htonl(ntohl(old) + n);
	if (base->flags & GRE_CSUM && !gre_checksum_is_left(seg, base))
		csum_replace4((__sum16 *)opt, old, *seq);
}

/*
 * The segmenter's callback; skb->data is at the GRE header. It is as far from the
 * MAC header in each segment, which has all of the headers linear.
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

	/* What a device is to cut further would be numbered by nobody. */
	segs = gre_kernel_offload->callbacks.gso_segment(skb, features & ~NETIF_F_GSO_PARTIAL);
	if (!IS_ERR(segs))
		for (seg = segs; seg; seg = seg->next)
			gre_count_up(seg, (struct gre_base_hdr *)(skb_mac_header(seg) + at), n++);
	return segs;
}

static struct net_offload gre_numbered_offload __read_mostly;

/**
 * ip_tnl_gre_gso_init() - number the segments of GRE packets from now on
 *
 * Context: process.
 *
 * Return: 0, or -ENOPROTOOPT if the kernel has no GRE segmenter.
 */
int ip_tnl_gre_gso_init(void)
{
	gre_kernel_offload = rcu_access_pointer(inet_offloads[IPPROTO_GRE]);
	if (!gre_kernel_offload) {
		pr_err("ip_gre: the kernel has no segmenter for GRE\n");
		return -ENOPROTOOPT;
	}
	gre_numbered_offload = *gre_kernel_offload;
	gre_numbered_offload.callbacks.gso_segment = gre_gso_segment_numbered;
	rcu_assign_pointer(inet_offloads[IPPROTO_GRE], &gre_numbered_offload);
	return 0;
}

/**
 * ip_tnl_gre_gso_exit() - undo ip_tnl_gre_gso_init()
 *
 * Context: process. Of numbered super-packets that wait in a queue all segments
 * get the same number when they are cut after this.
 */
void ip_tnl_gre_gso_exit(void)
{
	rcu_assign_pointer(inet_offloads[IPPROTO_GRE], gre_kernel_offload);
	synchronize_net();
}
