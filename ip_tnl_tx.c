// SPDX-License-Identifier: GPL-2.0
/*
 * Transmit: from an inner packet to the underlay, in four steps.
 *
 *	kind's ndo_start_xmit	checks the payload, ip_tnl_flow_init()
 *	ip_tnl_tx_prepare	destination, TOS, TTL, DF, route, path MTU, headroom
 *	kind			pushes its own header
 *	ip_tnl_tx_send		outer IP header, ip_local_out()
 *
 * Nothing is pushed before all decisions are made, so an ICMP error to the sender quotes
 * the packet as it was sent. Where the destination comes from (the configuration, the
 * payload's route for NBMA, or metadata) makes a difference only to how &struct
 * ip_tnl_flow is filled.
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
#include "ip_tnl_internal.h"

/* From the packet's metadata. Return: true if it has any for transmit by IPv4. */
static bool ip_tnl_flow_from_md(struct ip_tnl_flow *f, const struct sk_buff *skb)
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
		.collect_md	= true,
		.inner_proto	= skb->protocol,
		.mark		= skb->mark,
		.flow_flags	= key->flow_flags,
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
 * Reads the operations of the UDP encapsulation once, so that room is made for the very
 * header that is pushed later, even if fou is unloaded, loaded or replaced meanwhile.
 * Return: false if there is no such module.
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

	if (p->collect_md)
		return ip_tnl_flow_from_md(f, skb);
	*f = (struct ip_tnl_flow) {
		.daddr		= p->remote,
		.saddr		= p->local,
		.key		= p->o_key,
		.options	= p->o_flags,
		.df		= p->df,
		.ttl		= p->ttl,
		.ignore_df	= p->ignore_df,
		.inner_proto	= skb->protocol,
		.link		= p->link,
		.mark		= p->fwmark,
		.encap		= &e->p.encap,
	};
	ip_tnl_flow_set_tos(f, p->tos);
	if (p->remote)
		f->dst_caches = e->dst_caches;
	return true;
}
EXPORT_SYMBOL_GPL(ip_tnl_flow_init);

/* What the outer header may inherit from the payload. */
struct ip_tnl_payload {
	bool	ip;		/* false: nothing */
	u8	dsfield;
	u8	ttl;		/* 0 if it has none */
	__be16	df;
};

/* The kind has checked that a header of this type is there, and linear. */
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

/* TOS and DF as configured, with the payload's DSCP and DF bit where they are inherited. */
static void ip_tnl_inherit(struct ip_tnl_flow *f, const struct ip_tnl_payload *in)
{
	if (f->inherit_tos && in->ip)
		f->tos = in->dsfield;
	if (!f->ignore_df)
		f->df |= in->df;
}

/*
 * The payload's route, or NULL if it is of another family than the payload, as the route
 * of a label switched or rewritten packet may be: its functions would read the wrong
 * kind of header.
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

/* Tells the sender that its packet is not delivered. cb is cleared: IP reads options there. */
static void ip_tnl_link_failure(struct sk_buff *skb)
{
	memset(skb->cb, 0, sizeof(skb->cb));
	if (ip_tnl_payload_dst(skb))
		dst_link_failure(skb);
}

/* The IPv6 next hop, if it is an IPv4-compatible address (RFC 4291 2.5.5.1). */
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
 * The destination of a tunnel without a remote address: what a lightweight tunnel on the
 * payload's route names, or else the next hop. Return: its address or 0.
 */
static __be32 ip_tnl_next_hop(struct sk_buff *skb, struct net_device *dev, struct ip_tnl_flow *f)
{
	struct ip_tunnel_info *info;

	if (f->collect_md)
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

/* The route of the outer packet, from the cache if that is valid. Return: a reference, or NULL. */
static struct rtable *ip_tnl_route_get(struct sk_buff *skb, struct net *net, struct ip_tnl_flow *f)
{
	struct dst_cache *cache = f->dst_cache;
	struct ip_tnl_dst_caches **slot = NULL;
	struct ip_tnl_dst_caches *r;
	struct rtable *rt;

	if (f->dst_caches) {
		slot = &f->dst_caches[f->inherit_tos ? f->tos >> IP_TNL_DSCP_SHIFT : 0];
		r = READ_ONCE(*slot);
		if (likely(r))
			cache = likely(!r->mask) ? r->cache : ip_tnl_dst_caches_select(r, skb);
	}
	rt = cache ? dst_cache_get_ip4(cache, &f->saddr) : NULL;
	if (likely(rt))
		return rt;
	return ip_tnl_route_lookup(skb, net, f, slot);
}

/*
 * Return true if the segmenter of the outer IP header treats the inner one as inner. Those
 * of UDP and GRE treat it as an outermost one, and so confuse the identifications of both.
 */
static bool ip_tnl_keeps_level(const struct ip_tnl_flow *f)
{
	return f->gso_type == SKB_GSO_IPXIP4 && !f->encap_ops;
}

/* The length of an IPv4 packet has 16 bits. */
static bool ip_tnl_total_len_ok(const struct sk_buff *skb, const struct ip_tnl_flow *f)
{
	return skb->len + f->hlen + sizeof(struct iphdr) <= IP_MAX_MTU;
}

/* Return true if the segments of a GSO packet would get the same outer identification. */
static bool ip_tnl_gso_needs_df(const struct sk_buff *skb, const struct ip_tnl_flow *f)
{
	return !ip_tnl_keeps_level(f) && skb_gso_fixes_outer_id(skb);
}

/* A route with a locked MTU takes DF off the outer header. */
static bool ip_tnl_gso_loses_df(const struct sk_buff *skb, const struct rtable *rt,
				const struct ip_tnl_flow *f)
{
	return skb_is_gso(skb) && ip_mtu_locked(&rt->dst) && ip_tnl_gso_needs_df(skb, f);
}

/*
 * Return true if segmenting a GSO packet below the tunnel gives what segmenting it before
 * would. It does not
 *
 *	- beyond IP_MAX_MTU;
 *	- without DF, where the segments would get the same identification;
 *	- in FOU and GUE with a GRE checksum or sequence number, as the UDP segmenter copies
 *	  the GRE header, or with a remote checksum, see ip_tnl_fix_features();
 *	- for numbered packets that are not segmented by size: frag lists and SCTP.
 */
static bool ip_tnl_gso_ok(const struct sk_buff *skb, const struct ip_tnl_flow *f)
{
	const struct skb_shared_info *shinfo = skb_shinfo(skb);

	if (!ip_tnl_total_len_ok(skb, f) || shinfo->gso_type & SKB_GSO_FRAGLIST)
		return false;
	if (!f->df && ip_tnl_gso_needs_df(skb, f))
		return false;
	if (f->encap_ops)
		return !(f->options & (GRE_CSUM | GRE_SEQ)) &&
		       !(f->encap->flags & TUNNEL_ENCAP_FLAG_REMCSUM);
	return !(f->options & GRE_SEQ) ||
	       (shinfo->gso_segs && !(shinfo->gso_type & SKB_GSO_SCTP));
}

/*
 * Segments a packet before the tunnel, as the core does for a device without GSO; each
 * segment takes ndo_start_xmit() again. Consumes @skb.
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
 * When the path MTU has decreased, or a learned one has expired, TCP's segments may be too
 * big until TCP knows. Those can be made smaller here; for other protocols a segment is a
 * message, and in a frag list they end where its members do. Return: true if the segments
 * fit now.
 */
static bool ip_tnl_gso_shrink(struct sk_buff *skb, unsigned int mtu)
{
	struct skb_shared_info *shinfo;
	unsigned int hlen;

	if (!skb_is_gso_tcp(skb) || skb_has_frag_list(skb) || skb_header_unclone(skb, GFP_ATOMIC))
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

/* Updates the path MTU of the payload's route, also if it is the same but would expire. */
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

/* Return true if a packet, or each of its segments, fits into @mtu. */
static bool ip_tnl_len_ok(struct sk_buff *skb, unsigned int l2_hlen, unsigned int mtu)
{
	if (skb->len - l2_hlen <= mtu)
		return true;
	if (!skb_is_gso(skb))
		return false;
	mtu -= skb_network_offset(skb) - l2_hlen;	/* VLAN tags */
	return !skb_transport_header_was_set(skb) || skb_gso_validate_network_len(skb, mtu) ||
	       ip_tnl_gso_shrink(skb, mtu);
}

/*
 * RFC 2003 5.1, RFC 1191: with DF in the outer header a payload that does not fit is
 * dropped, and its sender told the MTU. An IPv4 payload without DF goes on. A GSO packet is
 * to be segmented, so that this is decided for each segment. Return: true if the packet may
 * go on; if not, it is still the caller's.
 */
static bool ip_tnl_check_pmtu(struct sk_buff *skb, const struct net_device *dev,
			      const struct rtable *rt, const struct ip_tnl_flow *f,
			      __be16 payload_df)
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
 * Soft errors (RFC 2003 section 4): each ICMP error that ip_tnl_err() counted lately is
 * passed on to the sender of one packet.
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

/* Makes headroom for all headers, and lets the device ask for it from now on. */
static int ip_tnl_cow_head(struct sk_buff *skb, struct net_device *dev,
			   const struct rtable *rt, int hlen)
{
	const struct net_device *out = READ_ONCE(rt->dst.dev);
	unsigned int room = LL_RESERVED_SPACE(out) + rt->dst.header_len +
			    sizeof(struct iphdr) + hlen;

	ip_tunnel_adj_headroom(dev, room);
	return skb_cow_head(skb, room);
}

/* Settles the outer TOS and TTL, and makes room and offloads ready for the headers. */
static int ip_tnl_prepare_outer(struct sk_buff *skb, struct net_device *dev,
				const struct rtable *rt, struct ip_tnl_flow *f,
				const struct ip_tnl_payload *in)
{
	int err;

	f->tos = INET_ECN_encapsulate(f->tos, in->dsfield);
	if (!f->ttl)
		f->ttl = in->ttl ?: ip4_dst_hoplimit(&rt->dst);

	err = ip_tnl_cow_head(skb, dev, rt, f->hlen);
	if (!err)
		err = iptunnel_handle_offloads(skb, f->gso_type);
	if (!err)
		skb_gso_push_fixedid(skb, ip_tnl_keeps_level(f));
	return err;
}

/**
 * ip_tnl_tx_prepare() - decide how a packet leaves, and make it ready
 * @skb: payload, network header at skb->data, basic IP header linear; on
 *	failure counted and consumed
 * @dev: tunnel device
 * @f: inputs; on success saddr, daddr, df, tos and ttl are final
 *
 * On success the skb has headroom for @f->hlen bytes and the outer IP header, and its
 * offloads are prepared; its head may have moved.
 *
 * Context: softirq or BH off.
 *
 * Return: a reference to the route, which ip_tnl_tx_send() consumes, or NULL.
 */
struct rtable *ip_tnl_tx_prepare(struct sk_buff *skb, struct net_device *dev,
				 struct ip_tnl_flow *f)
{
	const struct ip_tnl_payload in = ip_tnl_payload(skb, f->inner_proto);
	struct ip_tunnel *t = netdev_priv(dev);
	struct rtable *rt = NULL;

	if (!f->daddr)
		f->daddr = ip_tnl_next_hop(skb, dev, f);
	if (!f->daddr || !ip_tnl_flow_encap(f))
		goto error;
	ip_tnl_inherit(f, &in);
	if (skb_is_gso(skb)) {
		if (!ip_tnl_gso_ok(skb, f))
			goto segment;
	} else if (unlikely(!ip_tnl_total_len_ok(skb, f))) {
		goto error;
	}
	rt = ip_tnl_route_get(skb, t->net, f);
	if (!rt) {
		DEV_STATS_INC(dev, tx_carrier_errors);
		goto error;
	}
	if (READ_ONCE(rt->dst.dev) == dev) {
		DEV_STATS_INC(dev, collisions);
		goto error;
	}
	if (!ip_tnl_check_pmtu(skb, dev, rt, f, in.df) || ip_tnl_gso_loses_df(skb, rt, f)) {
		if (!skb_is_gso(skb))
			goto error;
		ip_rt_put(rt);
		goto segment;
	}
	ip_tnl_report_errors(skb, t);
	if (ip_tnl_prepare_outer(skb, dev, rt, f, &in)) {
		DEV_STATS_INC(dev, tx_dropped);
		goto drop;
	}
	return rt;

segment:
	ip_tnl_xmit_segments(skb, dev, f);
	return NULL;

error:
	DEV_STATS_INC(dev, tx_errors);
drop:
	ip_rt_put(rt);
	kfree_skb(skb);
	return NULL;
}
EXPORT_SYMBOL_GPL(ip_tnl_tx_prepare);

/* Pushes the UDP encapsulation; its checksum covers the final addresses. Return: 0 or an errno. */
static int ip_tnl_push_encap(struct sk_buff *skb, struct ip_tnl_flow *f)
{
	struct flowi4 fl4 = { .saddr = f->saddr, .daddr = f->daddr };

	if (likely(!f->encap_ops))
		return 0;
	return f->encap_ops->build_header(skb, f->encap, &f->proto, &fl4);
}

/* Tunnels that are routed into each other recurse through ip_local_out(). */
static bool ip_tnl_too_deep(const struct net_device *dev)
{
	if (likely(dev_recursion_level() <= IP_TUNNEL_RECURSION_LIMIT))
		return false;
	net_crit_ratelimited("%s: tunnels are routed into each other, packet dropped\n", dev->name);
	return true;
}

/* The outer IP header. With DF its identification is 0 (RFC 6864 4.1: atomic datagrams). */
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
 * ip_tnl_tx_send() - push the outer IP header and transmit
 * @skb: packet, the kind's own header at skb->data, skb->dev the tunnel; consumed
 * @rt: from ip_tnl_tx_prepare(); its reference is consumed
 * @f: the same flow; its proto becomes that of the outer header
 *
 * iptunnel_xmit() would do, but it computes an identification (a siphash and an atomic
 * counter) for each packet.
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
	struct ip_tnl_flow f;
	struct rtable *rt;

	if (!ip_tnl_flow_from_md(&f, skb))
		return -EINVAL;
	f.proto = ip_tnl_kind(dev)->defaults.protocol;
	rt = ip_tnl_route_output(t->net, &f, skb_get_hash(skb));
	if (IS_ERR(rt))
		return PTR_ERR(rt);
	ip_rt_put(rt);
	f.info->key.u.ipv4.src = f.saddr;
	return 0;
}
EXPORT_SYMBOL_GPL(ip_tnl_fill_metadata_dst);
