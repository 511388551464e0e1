// SPDX-License-Identifier: GPL-2.0
/*
 * Transmit: from an inner packet to the underlay, in four steps.
 *
 *	kind's ndo_start_xmit	checks the payload, ip_tnl_flow_init()
 *	ip_tnl_tx_route		destination, TOS, TTL, DF, route, path MTU, headroom
 *	kind			pushes its own header
 *	ip_tnl_tx_send		outer IP header, and out
 *
 * Everything is decided before the packet is touched, so an error that goes
 * back to the sender quotes the packet as it was sent. A &struct ip_tnl_flow
 * is all that tells the destinations apart: a fixed one, one that the payload's
 * route names (NBMA), or one given with the packet.
 */
#include <linux/icmpv6.h>
#include <linux/if_arp.h>
#include <net/dst_metadata.h>
#include <net/gre.h>
#include <net/gso.h>
#include <net/icmp.h>
#include <net/inet_ecn.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/route.h>
#include <net/tcp.h>

#include "gre_header.h"
#include "ip_tnl.h"

/* The packet says itself how it leaves. Return: whether it does. */
static bool ip_tnl_flow_external(struct ip_tnl_flow *f, const struct sk_buff *skb)
{
	struct ip_tunnel_info *info = skb_tunnel_info(skb);
	const struct ip_tunnel_key *key;

	if (!info || !(info->mode & IP_TUNNEL_INFO_TX) || ip_tunnel_info_af(info) != AF_INET)
		return false;
	key = &info->key;
	*f = (struct ip_tnl_flow) {
		.daddr		= key->u.ipv4.dst,
		.saddr		= key->u.ipv4.src,
		.key		= tunnel_id_to_key32(key->tun_id),
		.options	= gre_tnl_flags_to_gre_flags(key->tun_flags) & GRE_OPTIONS,
		.ttl		= key->ttl,
		.tos		= key->tos,
		.ignore_df	= true,
		.external	= true,
		.payload	= skb->protocol,
		.mark		= skb->mark,
		.encap		= &info->encap,
		.info		= info,
	};
	if (key->tos == 1)
		ip_tnl_flow_set_tos(f, 1);
	if (ip_tnl_flag_test(key->tun_flags, DONT_FRAGMENT))
		f->df = htons(IP_DF);
	if (ip_tunnel_dst_cache_usable(skb, info) && !f->inherit_tos)
		f->dst_cache = &info->dst_cache;
	return true;
}

/*
 * Who pushes the UDP encapsulation also says how long it is: both are asked of the
 * same operations, however often their module (fou) is taken out and put back
 * meanwhile. Return: false if it is out.
 */
static bool ip_tnl_flow_encap(struct ip_tnl_flow *f)
{
	const struct ip_tunnel_encap_ops *ops = NULL;

	if (likely(f->encap->type == TUNNEL_ENCAP_NONE))
		return true;
	if (f->encap->type < MAX_IPTUN_ENCAP_OPS)
		ops = rcu_dereference_bh(iptun_encaps[f->encap->type]);
	if (!ops || !ops->encap_hlen || !ops->build_header)
		return false;
	f->encap_ops = ops;
	f->hlen += ops->encap_hlen(f->encap);
	return true;
}

/**
 * ip_tnl_flow_init() - how a packet is to leave by its tunnel
 * @f: filled; the kind still sets @proto and @gso_type, and adds its own
 *	header to @hlen
 * @e: the tunnel's configuration
 * @skb: the packet
 *
 * Context: softirq or BH off; @f is valid as long as @e and @skb's metadata are.
 *
 * Return: false for a packet without the metadata that a tunnel in external
 * mode needs.
 */
bool ip_tnl_flow_init(struct ip_tnl_flow *f, struct ip_tnl_entry *e, const struct sk_buff *skb)
{
	const struct ip_tnl_params *p = &e->p;

	if (p->external)
		return ip_tnl_flow_external(f, skb);
	*f = (struct ip_tnl_flow) {
		.daddr		= p->remote,
		.saddr		= p->local,
		.key		= p->o_key,
		.options	= p->o_flags,
		.df		= p->df,
		.ttl		= p->ttl,
		.ignore_df	= p->ignore_df,
		.payload	= skb->protocol,
		.link		= p->link,
		.mark		= p->fwmark,
		.encap		= &e->p.encap,
	};
	ip_tnl_flow_set_tos(f, p->tos);
	if (p->remote)
		f->routes = e->routes;
	return true;
}
EXPORT_SYMBOL_GPL(ip_tnl_flow_init);

/* What the outer header may take from the payload. */
struct ip_tnl_payload {
	bool	ip;		/* false: there is nothing to take */
	u8	dsfield;
	u8	ttl;		/* 0 if it has none */
	__be16	df;
};

/* The kind made sure that the network header is what @payload says, and linear. */
static struct ip_tnl_payload ip_tnl_payload(const struct sk_buff *skb, __be16 payload)
{
	struct ip_tnl_payload in = { };

	if (payload == htons(ETH_P_IP)) {
		in.ip = true;
		in.dsfield = ip_hdr(skb)->tos;
		in.ttl = ip_hdr(skb)->ttl;
		in.df = ip_hdr(skb)->frag_off & htons(IP_DF);
	} else if (payload == htons(ETH_P_IPV6)) {
		in.ip = true;
		in.dsfield = ipv6_get_dsfield(ipv6_hdr(skb));
		in.ttl = ipv6_hdr(skb)->hop_limit;
	}
	return in;
}

/*
 * TOS and DF before routing: DSCP from the payload where that is asked for, and
 * the payload's DF bit unless that is to be ignored.
 */
static void ip_tnl_inherit(struct ip_tnl_flow *f, const struct ip_tnl_payload *in)
{
	if (f->inherit_tos && in->ip)
		f->tos = in->dsfield;
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

/* Tells the sender that there is no way. What stands in cb would be taken for IP options. */
static void ip_tnl_link_failure(struct sk_buff *skb)
{
	memset(skb->cb, 0, sizeof(skb->cb));
	if (ip_tnl_payload_dst(skb))
		dst_link_failure(skb);
}

/* The neighbour that IPv6 routing chose, if its address holds an IPv4 one (RFC 4291 2.5.5.1). */
static __be32 ip_tnl_next_hop6(struct sk_buff *skb)
{
	const struct in6_addr *addr = &ipv6_hdr(skb)->daddr;
	struct neighbour *n = NULL;
	__be32 daddr = 0;

	if (ip_tnl_payload_dst(skb))
		n = dst_neigh_lookup(skb_dst(skb), addr);
	if (!n)
		return 0;
	if (!ipv6_addr_any((struct in6_addr *)n->primary_key))
		addr = (struct in6_addr *)n->primary_key;
	if (ipv6_addr_type(addr) & IPV6_ADDR_COMPATv4)
		daddr = addr->s6_addr32[3];
	neigh_release(n);
	if (!daddr)
		ip_tnl_link_failure(skb);
	return daddr;
}

/*
 * A tunnel without a remote address sends to where the payload's route says: to
 * the tunnel end that a lightweight tunnel names, or else to the next hop.
 * Return: that address, or 0 with the reason counted.
 */
static __be32 ip_tnl_next_hop(struct sk_buff *skb, struct net_device *dev, struct ip_tnl_flow *f)
{
	struct ip_tunnel_info *info;

	if (f->external)
		return 0;
	if (!skb_dst(skb)) {
		DEV_STATS_INC(dev, tx_fifo_errors);
		return 0;
	}
	info = skb_tunnel_info(skb);
	if (info && info->mode & IP_TUNNEL_INFO_TX && ip_tunnel_info_af(info) == AF_INET &&
	    info->key.u.ipv4.dst) {
		if (!f->inherit_tos)
			f->dst_cache = &info->dst_cache;
		return info->key.u.ipv4.dst;
	}
	if (skb->protocol == htons(ETH_P_IP) && ip_tnl_payload_dst(skb))
		return rt_nexthop(skb_rtable(skb), ip_hdr(skb)->daddr);
	if (skb->protocol == htons(ETH_P_IPV6))
		return ip_tnl_next_hop6(skb);
	return 0;
}

/* The route of the outer packet: the one that is kept, if it is good. Return: a reference, or NULL. */
static struct rtable *ip_tnl_route_get(struct sk_buff *skb, struct net *net, struct ip_tnl_flow *f)
{
	struct dst_cache *cache = f->dst_cache;
	struct ip_tnl_routes **slot = NULL;
	struct ip_tnl_routes *r;
	struct rtable *rt;

	if (f->routes) {
		slot = &f->routes[f->inherit_tos ? f->tos >> IP_TNL_DSCP_SHIFT : 0];
		r = READ_ONCE(*slot);
		if (likely(r))
			cache = likely(!r->mask) ? r->cache : ip_tnl_routes_path(r, skb);
	}
	rt = cache ? dst_cache_get_ip4(cache, &f->saddr) : NULL;
	if (likely(rt))
		return rt;
	return ip_tnl_route_lookup(skb, net, f, slot);
}

/*
 * Whether the segmenters know that what is below the outer IP header is another one: those
 * of UDP and GRE begin anew, and give the outer header's identifications to the inner one.
 */
static bool ip_tnl_keeps_level(const struct ip_tnl_flow *f)
{
	return f->gso_type == SKB_GSO_IPXIP4 && !f->encap_ops;
}

/*
 * Whether a GSO packet can be segmented below the tunnel: all of its segments then
 * get what the tunnel would put before each of them. IPv4 has no longer packets than
 * those of 65,535 bytes; without DF each segment needs an identification of its own;
 * the segmenter of UDP, which FOU and GUE go by, copies the GRE header as it is, and what
 * it does with remote checksums see ip_tnl_fix_features(); the segmenters of lists and SCTP
 * do not go by size.
 */
static bool ip_tnl_gso_ok(const struct sk_buff *skb, const struct ip_tnl_flow *f)
{
	const struct skb_shared_info *shinfo = skb_shinfo(skb);

	if (skb->len + f->hlen + sizeof(struct iphdr) > IP_MAX_MTU ||
	    shinfo->gso_type & SKB_GSO_FRAGLIST)
		return false;
	if (!f->df && !ip_tnl_keeps_level(f) && skb_gso_fixes_outer_id(skb))
		return false;
	if (f->encap_ops)
		return !(f->options & (GRE_CSUM | GRE_SEQ)) &&
		       !(f->encap->flags & TUNNEL_ENCAP_FLAG_REMCSUM);
	return !(f->options & GRE_SEQ) ||
	       (shinfo->gso_segs && !(shinfo->gso_type & SKB_GSO_SCTP));
}

/*
 * Segments a packet before the tunnel, as the core does for a device without GSO;
 * each segment comes back by ndo_start_xmit(). Consumes @skb.
 */
static void ip_tnl_xmit_segments(struct sk_buff *skb, struct net_device *dev,
				 const struct ip_tnl_flow *f)
{
	struct sk_buff *segs, *seg, *next;

	skb_push(skb, f->ll_hlen);
	segs = skb_gso_segment(skb, netif_skb_features(skb) & ~NETIF_F_GSO_MASK);
	if (IS_ERR_OR_NULL(segs)) {
		DEV_STATS_INC(dev, tx_dropped);
		kfree_skb(skb);
		return;
	}
	consume_skb(skb);
	skb_list_walk_safe(segs, seg, next) {
		skb_mark_not_on_list(seg);
		dev->netdev_ops->ndo_start_xmit(seg, dev);
	}
}

/*
 * The path MTU has become smaller, or what was learned of it was forgotten, and TCP
 * does not know yet: its segments become smaller, as if it had known. Of other
 * protocols a segment is a message. Return: whether the segments fit now.
 */
static bool ip_tnl_gso_shrink(struct sk_buff *skb, unsigned int mtu)
{
	struct skb_shared_info *shinfo;
	unsigned int hlen;

	if (!skb_is_gso_tcp(skb) || skb_header_unclone(skb, GFP_ATOMIC))
		return false;
	hlen = skb_transport_offset(skb) - skb_network_offset(skb) + tcp_hdrlen(skb);
	if (mtu < hlen + TCP_MIN_MSS)
		return false;
	shinfo = skb_shinfo(skb);
	shinfo->gso_size = mtu - hlen;
	shinfo->gso_segs = DIV_ROUND_UP(skb->len - skb_network_offset(skb) - hlen,
					shinfo->gso_size);
	return true;
}

/* The payload's route learns the path MTU, and again before it would forget it. */
static void ip_tnl_learn_pmtu(struct sk_buff *skb, u32 mtu)
{
	struct dst_entry *dst = ip_tnl_payload_dst(skb);
	u32 known;

	if (!dst)
		return;
	known = dst_mtu(dst);
	if (mtu < known || (mtu == known && READ_ONCE(dst->expires)))
		skb_dst_update_pmtu_no_confirm(skb, mtu);
}

/* Whether a packet, or each of its segments, fits the path. */
static bool ip_tnl_len_ok(struct sk_buff *skb, unsigned int l2_hlen, unsigned int mtu)
{
	if (skb->len - l2_hlen <= mtu)
		return true;
	if (!skb_is_gso(skb))
		return false;
	return !skb_transport_header_was_set(skb) || skb_gso_validate_network_len(skb, mtu) ||
	       ip_tnl_gso_shrink(skb, mtu);
}

/*
 * RFC 2003 5.1, RFC 2784 with RFC 1191: with DF in the outer header a payload
 * that does not fit is refused, and its sender told what would have fitted. A
 * payload that may be fragmented itself goes on, and of a GSO packet each segment is
 * looked at by itself. Return: whether the packet may go on; if not it is still the
 * caller's.
 */
static bool ip_tnl_fits(struct sk_buff *skb, const struct net_device *dev,
			const struct rtable *rt, const struct ip_tnl_flow *f, __be16 payload_df)
{
	unsigned int l2_hlen = dev->type == ARPHRD_ETHER ? ETH_HLEN : 0;
	u32 mtu = dst_mtu(&rt->dst) - sizeof(struct iphdr) - f->hlen - l2_hlen;

	if (!f->df)
		return true;
	ip_tnl_learn_pmtu(skb, mtu);
	if (ip_tnl_len_ok(skb, l2_hlen, mtu))
		return true;
	if (skb_is_gso(skb))
		return false;

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
		ip_tnl_link_failure(skb);
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
	const struct ip_tnl_payload in = ip_tnl_payload(skb, f->payload);
	struct ip_tunnel *t = netdev_priv(dev);
	struct rtable *rt;

	if (!f->daddr)
		f->daddr = ip_tnl_next_hop(skb, dev, f);
	if (!f->daddr || !ip_tnl_flow_encap(f))
		goto error;
	ip_tnl_inherit(f, &in);
	if (skb_is_gso(skb) && !ip_tnl_gso_ok(skb, f))
		goto segment;
	rt = ip_tnl_route_get(skb, t->net, f);
	if (!rt) {
		DEV_STATS_INC(dev, tx_carrier_errors);
		goto error;
	}
	if (rt->dst.dev == dev) {
		DEV_STATS_INC(dev, collisions);
		goto error_put;
	}
	if (!ip_tnl_fits(skb, dev, rt, f, in.df)) {
		if (!skb_is_gso(skb))
			goto error_put;
		ip_rt_put(rt);
		goto segment;
	}
	ip_tnl_report_errors(skb, t);

	f->tos = INET_ECN_encapsulate(f->tos, in.dsfield);
	if (!f->ttl)
		f->ttl = in.ttl ?: ip4_dst_hoplimit(&rt->dst);

	if (ip_tnl_make_room(skb, dev, rt, f->hlen))
		goto dropped;
	if (iptunnel_handle_offloads(skb, f->gso_type))
		goto dropped;
	skb_gso_push_fixedid(skb, ip_tnl_keeps_level(f));
	return rt;

segment:
	ip_tnl_xmit_segments(skb, dev, f);
	return NULL;

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

/* UDP encapsulation: its checksum covers addresses, so only now. Return: 0 or an errno. */
static int ip_tnl_push_encap(struct sk_buff *skb, struct ip_tnl_flow *f)
{
	struct flowi4 fl4 = { .saddr = f->saddr, .daddr = f->daddr };

	if (likely(!f->encap_ops))
		return 0;
	return f->encap_ops->build_header(skb, f->encap, &f->proto, &fl4);
}

/* A tunnel that is routed into itself by way of others comes back here for each of them. */
static bool ip_tnl_too_deep(const struct net_device *dev)
{
	if (likely(dev_recursion_level() <= IP_TUNNEL_RECURSION_LIMIT))
		return false;
	net_crit_ratelimited("%s: tunnels are routed into each other, packet dropped\n", dev->name);
	return true;
}

/*
 * The outer header. Identification is given to what may be fragmented only, RFC
 * 6864 4.1: an atomic datagram has 0.
 */
static void ip_tnl_push_ip(struct sk_buff *skb, struct net *net, const struct rtable *rt,
			   const struct ip_tnl_flow *f)
{
	struct iphdr *iph = skb_push(skb, sizeof(*iph));

	skb_reset_network_header(skb);
	*iph = (struct iphdr) {
		.version	= 4,
		.ihl		= sizeof(*iph) / 4,
		.tos		= f->tos,
		.frag_off	= ip_mtu_locked(&rt->dst) ? 0 : f->df,
		.ttl		= f->ttl,
		.protocol	= f->proto,
		.saddr		= f->saddr,
		.daddr		= f->daddr,
	};
	ip_select_ident_segs(net, skb, NULL, ip_tnl_segments(skb));
}

/**
 * ip_tnl_tx_send() - put the outer IP header on a packet and let it go
 * @skb: packet that the kind's own header starts, skb->dev the tunnel; consumed
 * @rt: from ip_tnl_tx_route(); its reference is consumed
 * @f: the same flow; its proto becomes that of the outer header
 *
 * The kernel's iptunnel_xmit() would do, but it computes an identification
 * (a siphash and an atomic counter) for each packet.
 *
 * Context: softirq or BH off.
 */
void ip_tnl_tx_send(struct sk_buff *skb, struct rtable *rt, struct ip_tnl_flow *f)
{
	struct net_device *dev = skb->dev;
	const struct ip_tunnel *t = netdev_priv(dev);
	int len = skb->len - skb_inner_network_offset(skb);
	int err;

	if (ip_tnl_too_deep(dev) || ip_tnl_push_encap(skb, f)) {
		DEV_STATS_INC(dev, tx_errors);
		ip_rt_put(rt);
		kfree_skb(skb);
		return;
	}
	skb_scrub_packet(skb, !net_eq(t->net, dev_net(dev)));
	skb_clear_hash_if_not_l4(skb);
	skb_dst_set(skb, &rt->dst);
	memset(IPCB(skb), 0, sizeof(*IPCB(skb)));
	ip_tnl_push_ip(skb, t->net, rt, f);

	dev_xmit_recursion_inc();
	err = ip_local_out(t->net, NULL, skb);
	dev_xmit_recursion_dec();
	iptunnel_xmit_stats(dev, net_xmit_eval(err) ? 0 : len);
}
EXPORT_SYMBOL_GPL(ip_tnl_tx_send);

/**
 * ip_tnl_fill_metadata_dst() - ndo_fill_metadata_dst
 * @dev: tunnel device in external mode
 * @skb: packet with transmit metadata, whose source address is filled in
 *
 * Context: RCU read side.
 *
 * Return: 0, -EINVAL for metadata that is missing or not for IPv4, or the
 * errno of the route lookup.
 */
int ip_tnl_fill_metadata_dst(struct net_device *dev, struct sk_buff *skb)
{
	const struct ip_tunnel *t = netdev_priv(dev);
	struct ip_tunnel_info *info = skb_tunnel_info(skb);
	struct ip_tunnel_key *key;
	struct flowi4 fl4;
	struct rtable *rt;

	if (!info || ip_tunnel_info_af(info) != AF_INET)
		return -EINVAL;
	key = &info->key;
	ip_tunnel_init_flow(&fl4, IPPROTO_GRE, key->u.ipv4.dst, key->u.ipv4.src,
			    tunnel_id_to_key32(key->tun_id), key->tos & INET_DSCP_MASK, t->net,
			    0, skb->mark, skb_get_hash(skb), key->flow_flags);
	rt = ip_route_output_key(t->net, &fl4);
	if (IS_ERR(rt))
		return PTR_ERR(rt);
	ip_rt_put(rt);
	key->u.ipv4.src = fl4.saddr;
	return 0;
}
EXPORT_SYMBOL_GPL(ip_tnl_fill_metadata_dst);
