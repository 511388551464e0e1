// SPDX-License-Identifier: GPL-2.0
/*
 * Transmit: from an inner packet to the underlay, in four steps.
 *
 *	kind's ndo_start_xmit	checks the payload, ip_tnl_flow_init()
 *	ip_tnl_tx_route		destination, TOS, TTL, DF, route, path MTU, headroom
 *	kind			pushes its own header
 *	ip_tnl_tx_send		outer IP header, by iptunnel_xmit()
 *
 * Everything is decided before the packet is touched, so an error that goes
 * back to the sender quotes the packet as it was sent. A &struct ip_tnl_flow
 * is all that tells the destinations apart: a fixed one, one that the payload's
 * route names (NBMA), or one given with the packet.
 */
#include <linux/icmpv6.h>
#include <net/dst_metadata.h>
#include <net/icmp.h>
#include <net/inet_ecn.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/route.h>

#include "ip_tnl.h"

/**
 * ip_tnl_flow_init() - a packet leaves as its tunnel is configured
 * @f: filled; the kind still sets @proto, @hlen and @gso_type
 * @e: the tunnel's configuration
 *
 * Context: softirq or BH off; @f is valid as long as @e is.
 */
void ip_tnl_flow_init(struct ip_tnl_flow *f, struct ip_tnl_entry *e)
{
	const struct ip_tnl_params *p = &e->p;

	*f = (struct ip_tnl_flow) {
		.daddr		= p->remote,
		.saddr		= p->local,
		.key		= p->o_key,
		.options	= p->o_flags,
		.df		= p->df,
		.ttl		= p->ttl,
		.tos		= p->tos,
		.ignore_df	= p->ignore_df,
		.link		= p->link,
		.mark		= p->fwmark,
	};
	/* One cache serves one destination and one TOS. */
	if (p->remote && !(p->tos & 1))
		f->dst_cache = &e->dst_cache;
}
EXPORT_SYMBOL_GPL(ip_tnl_flow_init);

/* What the outer header may take from the payload. */
struct ip_tnl_payload {
	bool	ip;		/* false: there is nothing to take */
	u8	dsfield;
	u8	ttl;		/* 0 if it has none */
	__be16	df;
};

/*
 * The kind made sure that a whole basic IP header is linear. By skb->protocol
 * alone: a payload behind a VLAN tag does not start with an IP header.
 */
static struct ip_tnl_payload ip_tnl_payload(const struct sk_buff *skb)
{
	struct ip_tnl_payload in = { };

	if (skb->protocol == htons(ETH_P_IP)) {
		in.ip = true;
		in.dsfield = ip_hdr(skb)->tos;
		in.ttl = ip_hdr(skb)->ttl;
		in.df = ip_hdr(skb)->frag_off & htons(IP_DF);
	} else if (skb->protocol == htons(ETH_P_IPV6)) {
		in.ip = true;
		in.dsfield = ipv6_get_dsfield(ipv6_hdr(skb));
		in.ttl = ipv6_hdr(skb)->hop_limit;
	}
	return in;
}

/*
 * TOS and DF before routing: DSCP from the payload where the TOS has bit 0 set,
 * and the payload's DF bit unless that is to be ignored.
 */
static void ip_tnl_inherit(struct ip_tnl_flow *f, const struct ip_tnl_payload *in)
{
	if (f->tos & 1)
		f->tos = in->ip ? in->dsfield : f->tos & ~1;
	if (!f->ignore_df)
		f->df |= in->df;
}

/*
 * The payload's own route, or NULL. One of another family (a label switched or
 * rewritten packet keeps the route it came with) must not be asked anything:
 * its answers would be read from the wrong kind of header.
 */
static struct dst_entry *ip_tnl_payload_dst(const struct sk_buff *skb)
{
	if (!skb_valid_dst(skb))
		return NULL;
	switch (skb_dst(skb)->ops->family) {
	case AF_INET:
		return skb->protocol == htons(ETH_P_IP) ? skb_dst(skb) : NULL;
	case AF_INET6:
		return skb->protocol == htons(ETH_P_IPV6) ? skb_dst(skb) : NULL;
	}
	return NULL;
}

/*
 * A tunnel without a remote address sends to the next hop that routing chose
 * for the payload. Return: that address, or 0 with the reason counted.
 */
static __be32 ip_tnl_next_hop(const struct sk_buff *skb, struct net_device *dev)
{
	if (!skb_dst(skb))
		DEV_STATS_INC(dev, tx_fifo_errors);
	else if (skb->protocol == htons(ETH_P_IP) && ip_tnl_payload_dst(skb))
		return rt_nexthop(skb_rtable(skb), ip_hdr(skb)->daddr);
	return 0;
}

/*
 * The route of the outer packet, from the flow's cache while that is good. On
 * success f->saddr is the source that goes with it. Return: a reference to the
 * route, or NULL.
 */
static struct rtable *ip_tnl_route_get(struct sk_buff *skb, struct net *net,
				       struct ip_tnl_flow *f)
{
	struct rtable *rt = NULL;
	struct flowi4 fl4;

	if (f->dst_cache)
		rt = dst_cache_get_ip4(f->dst_cache, &f->saddr);
	if (rt)
		return rt;

	ip_tunnel_init_flow(&fl4, f->proto, f->daddr, f->saddr, f->key,
			    f->tos & INET_DSCP_MASK, net, f->link, f->mark,
			    skb_get_hash(skb), 0);
	rt = ip_route_output_key(net, &fl4);
	if (IS_ERR(rt))
		return NULL;
	f->saddr = fl4.saddr;
	if (f->dst_cache)
		dst_cache_set_ip4(f->dst_cache, &rt->dst, fl4.saddr);
	return rt;
}

/*
 * RFC 2003 5.1, RFC 2784 with RFC 1191: with DF in the outer header a payload
 * that does not fit is refused, and its sender told what would have fitted. A
 * payload that may be fragmented itself, or by GSO, goes on. Return: whether
 * the packet may go on; if not it is still the caller's.
 */
static bool ip_tnl_fits(struct sk_buff *skb, const struct rtable *rt,
			const struct ip_tnl_flow *f, __be16 payload_df)
{
	u32 mtu = dst_mtu(&rt->dst) - sizeof(struct iphdr) - f->hlen;
	struct dst_entry *dst;

	if (!f->df)
		return true;
	dst = ip_tnl_payload_dst(skb);
	if (dst && mtu < dst_mtu(dst))
		skb_dst_update_pmtu_no_confirm(skb, mtu);
	if (skb->len <= mtu || skb_is_gso(skb))
		return true;

	if (skb->protocol == htons(ETH_P_IP) && payload_df) {
		icmp_ndo_send(skb, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, htonl(mtu));
		return false;
	}
	if (skb->protocol == htons(ETH_P_IPV6) && mtu >= IPV6_MIN_MTU) {
		icmpv6_ndo_send(skb, ICMPV6_PKT_TOOBIG, 0, mtu);
		return false;
	}
	return true;
}

/*
 * While the underlay has been reporting errors (see ip_tnl_err()), each of them
 * lets one sender know that its packets may not arrive: RFC 2003 section 4.
 */
static void ip_tnl_report_errors(struct sk_buff *skb, struct ip_tunnel *t)
{
	int count = READ_ONCE(t->err_count);

	if (likely(!count))
		return;
	if (time_before(jiffies, READ_ONCE(t->err_time) + IPTUNNEL_ERR_TIMEO)) {
		WRITE_ONCE(t->err_count, count - 1);
		/* The reply is built with what stands here as IP options. */
		memset(skb->cb, 0, sizeof(skb->cb));
		if (ip_tnl_payload_dst(skb))
			dst_link_failure(skb);
	} else {
		WRITE_ONCE(t->err_count, 0);
	}
}

/* Room for all headers below the payload, and a device that asks for it next time. */
static int ip_tnl_make_room(struct sk_buff *skb, struct net_device *dev,
			    const struct rtable *rt, int hlen)
{
	unsigned int room = LL_RESERVED_SPACE(rt->dst.dev) + rt->dst.header_len +
			    sizeof(struct iphdr) + hlen;

	ip_tunnel_adj_headroom(dev, room);
	return skb_cow_head(skb, room);
}

/**
 * ip_tnl_tx_route() - decide how a packet leaves, and make it ready
 * @skb: payload, network header at skb->data, basic IP header linear; on
 *	failure counted and consumed
 * @dev: tunnel device
 * @f: inputs; on success saddr, daddr, df, tos and ttl are final
 *
 * On success the skb has room for @f->hlen octets and the outer IP header, and
 * its offloads are prepared; its head may have moved.
 *
 * Context: softirq or BH off.
 *
 * Return: a reference to the route, which
 * ip_tnl_tx_send() takes over, or NULL.
 */
struct rtable *ip_tnl_tx_route(struct sk_buff *skb, struct net_device *dev,
			       struct ip_tnl_flow *f)
{
	const struct ip_tnl_payload in = ip_tnl_payload(skb);
	struct ip_tunnel *t = netdev_priv(dev);
	struct rtable *rt;

	if (!f->daddr)
		f->daddr = ip_tnl_next_hop(skb, dev);
	if (!f->daddr)
		goto error;
	ip_tnl_inherit(f, &in);
	rt = ip_tnl_route_get(skb, t->net, f);
	if (!rt) {
		DEV_STATS_INC(dev, tx_carrier_errors);
		goto error;
	}
	if (rt->dst.dev == dev) {
		DEV_STATS_INC(dev, collisions);
		goto error_put;
	}
	if (!ip_tnl_fits(skb, rt, f, in.df))
		goto error_put;
	ip_tnl_report_errors(skb, t);

	f->tos = INET_ECN_encapsulate(f->tos, in.dsfield);
	if (!f->ttl)
		f->ttl = in.ttl ?: ip4_dst_hoplimit(&rt->dst);

	if (ip_tnl_make_room(skb, dev, rt, f->hlen))
		goto dropped;
	if (iptunnel_handle_offloads(skb, f->gso_type))
		goto dropped;
	return rt;

dropped:
	DEV_STATS_INC(dev, tx_dropped);
	ip_rt_put(rt);
	kfree_skb(skb);
	return NULL;

error_put:
	ip_rt_put(rt);
error:
	DEV_STATS_INC(dev, tx_errors);
	kfree_skb(skb);
	return NULL;
}
EXPORT_SYMBOL_GPL(ip_tnl_tx_route);

/**
 * ip_tnl_tx_send() - put the outer IP header on a packet and let it go
 * @skb: packet that the kind's own header starts, skb->dev the tunnel; consumed
 * @rt: from ip_tnl_tx_route(); its reference is consumed
 * @f: the same flow
 *
 * Context: softirq or BH off.
 */
void ip_tnl_tx_send(struct sk_buff *skb, struct rtable *rt, const struct ip_tnl_flow *f)
{
	const struct ip_tunnel *t = netdev_priv(skb->dev);

	iptunnel_xmit(NULL, rt, skb, f->saddr, f->daddr, f->proto, f->tos, f->ttl, f->df,
		      !net_eq(t->net, dev_net(skb->dev)), 0);
}
EXPORT_SYMBOL_GPL(ip_tnl_tx_send);
