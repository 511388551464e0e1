// SPDX-License-Identifier: GPL-2.0
/*
 * Transmit, from a kind's ndo_start_xmit on: the GRE header, and the labels of a
 * GSO packet.
 */
#include <linux/mpls.h>
#include <net/gre.h>
#include <net/mpls.h>

#include "gre_header.h"
#include "ip_gre.h"

/**
 * ip_tnl_gre_xmit_drop() - give up a packet that cannot be sent as it is
 * @skb: counted as dropped on @dev and consumed
 * @dev: tunnel device
 *
 * Return: what ndo_start_xmit returns.
 */
netdev_tx_t ip_tnl_gre_xmit_drop(struct sk_buff *skb, struct net_device *dev)
{
	DEV_STATS_INC(dev, tx_dropped);
	kfree_skb(skb);
	return NETDEV_TX_OK;
}

/*
 * The GRE segmenter puts all that lies between the outer IP header and what the
 * inner headers point at before each segment. So a label stack can go with the
 * GRE header: inner headers point behind it, as MPLS left them. (The segmenter
 * of MPLS needs those offsets for itself.) Return: bytes of labels, -EINVAL.
 */
static int gre_mpls_labels(const struct sk_buff *skb)
{
	int len = skb_inner_network_offset(skb) - skb_network_offset(skb);

	return len > 0 && !(len % MPLS_HLEN) ? len : -EINVAL;
}

/* Inner headers point behind the labels. The transport header may be lost by now. */
static void gre_skip_labels(struct sk_buff *skb, int labels)
{
	skb_set_inner_mac_header(skb, labels);
	skb_set_inner_network_header(skb, labels);
	if (skb->ip_summed == CHECKSUM_PARTIAL)
		skb_set_inner_transport_header(skb, skb_checksum_start_offset(skb));
}

/**
 * ip_tnl_gre_send() - the way of a packet from a kind's ndo_start_xmit on
 * @skb: payload at skb->data; consumed
 * @dev: tunnel device
 * @f: from ip_tnl_flow_init()
 * @proto: ethertype for the GRE header, network byte order
 * @inner: header between the GRE header and the payload, or NULL
 * @inner_len: its bytes
 *
 * Context: softirq or BH off.
 */
void ip_tnl_gre_send(struct sk_buff *skb, struct net_device *dev, struct ip_tnl_flow *f,
		     __be16 proto, const void *inner, int inner_len)
{
	bool mpls = skb_is_gso(skb) && eth_p_mpls(proto);
	struct ip_tunnel *t = netdev_priv(dev);
	__be16 inner_proto = mpls ? skb->inner_protocol : proto;
	int labels = mpls ? gre_mpls_labels(skb) : 0;
	struct rtable *rt;
	u32 seq = 0;

	if (labels < 0) {
		ip_tnl_gre_xmit_drop(skb, dev);
		return;
	}
	f->proto = IPPROTO_GRE;
	f->hlen += gre_options_len(f->options) + inner_len;
	f->gso_type = f->options & GRE_CSUM ? SKB_GSO_GRE_CSUM : SKB_GSO_GRE;
	if (f->options & GRE_SEQ)
		f->gso_type |= IP_TNL_GSO_NUMBERED;
	rt = ip_tnl_tx_prepare(skb, dev, f);
	if (!rt)
		return;
	if (f->options & GRE_SEQ)
		seq = atomic_fetch_add(ip_tnl_segments(skb), &t->o_seqno);
	skb_set_inner_protocol(skb, inner_proto);
	if (mpls)
		gre_skip_labels(skb, labels);
	if (inner_len)
		memcpy(skb_push(skb, inner_len), inner, inner_len);
	gre_header_push(skb, f->options, proto, f->key, seq);
	ip_tnl_tx_send(skb, rt, f);
}
