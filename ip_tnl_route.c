// SPDX-License-Identifier: GPL-2.0
/*
 * Routes of outer packets: all lookups, and the caches.
 *
 * A configuration with a remote address has one destination, so its route is
 * cached, for each DSCP where the payload's is inherited. A multipath route has
 * one cache for each value that a masked flow hash can take, filled by a lookup
 * with that value: inner flows are spread over the next hops, each flow stays on
 * its path, and a tunnel whose route has one next hop computes no hash.
 *
 * A struct rtable does not say whether its route is a multipath route. So each
 * lookup that fills a cache asks the FIB; and whenever routes have changed, the
 * caches are filled anew.
 */
#include <linux/slab.h>
#include <net/dst_cache.h>
#include <net/ip_fib.h>
#include <net/nexthop.h>
#include <net/route.h>

#include "ip_tnl_internal.h"

/* Number of caches for a multipath route. */
#define IP_TNL_PATHS		16

/*
 * Life of their contents. When the FIB selects a next hop it looks at dead next hops,
 * at the neighbours' state and at the buckets of resilient groups, but no notification
 * says that one of these has changed the selection.
 */
#define IP_TNL_PATHS_TIME	(HZ / 2)

static void ip_tnl_dst_caches_free_rcu(struct rcu_head *rcu)
{
	ip_tnl_dst_caches_free(container_of(rcu, struct ip_tnl_dst_caches, rcu));
}

/**
 * ip_tnl_dst_caches_free() - free caches and drop the routes in them
 * @r: caches without readers, or NULL
 *
 * Context: any.
 */
void ip_tnl_dst_caches_free(struct ip_tnl_dst_caches *r)
{
	unsigned int i;

	if (!r)
		return;
	for (i = 0; i <= r->mask; i++)
		dst_cache_destroy(&r->cache[i]);
	kfree(r);
}

static struct ip_tnl_dst_caches *ip_tnl_dst_caches_alloc(u32 mask)
{
	struct ip_tnl_dst_caches *r;

	r = kzalloc(struct_size(r, cache, mask + 1), GFP_ATOMIC | __GFP_NOWARN);
	if (!r)
		return NULL;
	r->expires = jiffies + IP_TNL_PATHS_TIME;
	for (r->mask = 0; r->mask <= mask; r->mask++) {
		if (dst_cache_init(&r->cache[r->mask], GFP_ATOMIC | __GFP_NOWARN)) {
			ip_tnl_dst_caches_free(r);
			return NULL;
		}
		/* dst_cache_get() ignores a route cached in the same tick as reset_ts. */
		r->cache[r->mask].reset_ts = jiffies - 1;
	}
	r->mask = mask;
	return r;
}

/* The caches in @slot for @mask, allocated if need be. Return: NULL when out of memory. */
static struct ip_tnl_dst_caches *ip_tnl_dst_caches_get(struct ip_tnl_dst_caches **slot, u32 mask)
{
	struct ip_tnl_dst_caches *old = READ_ONCE(*slot);
	struct ip_tnl_dst_caches *new, *other;

	if (old && old->mask == mask)
		return old;
	new = ip_tnl_dst_caches_alloc(mask);
	if (!new)
		return NULL;
	other = cmpxchg(slot, old, new);
	if (other != old) {
		ip_tnl_dst_caches_free(new);
		return other->mask == mask ? other : NULL;
	}
	if (old)
		call_rcu(&old->rcu, ip_tnl_dst_caches_free_rcu);
	return new;
}

/* Makes the next packet of each path look up its route. */
static void ip_tnl_dst_caches_expire(struct ip_tnl_dst_caches *r)
{
	unsigned int i;

	WRITE_ONCE(r->expires, jiffies + IP_TNL_PATHS_TIME);
	for (i = 0; i <= r->mask; i++)
		WRITE_ONCE(r->cache[i].reset_ts, jiffies - 1);
}

/**
 * ip_tnl_dst_caches_select() - select the path of a packet
 * @r: caches of a multipath route
 * @skb: packet; its flow hash selects
 *
 * Context: softirq or BH off.
 *
 * Return: the cache of that path, which may be empty.
 */
struct dst_cache *ip_tnl_dst_caches_select(struct ip_tnl_dst_caches *r, struct sk_buff *skb)
{
	if (time_after(jiffies, READ_ONCE(r->expires)))
		ip_tnl_dst_caches_expire(r);
	return &r->cache[skb_get_hash(skb) & r->mask];
}

/* A nexthop group may get more next hops at any time. */
static bool ip_tnl_fib_is_multipath(const struct fib_info *fi)
{
	return fi->nh ? nexthop_is_multipath(fi->nh) : fib_info_num_path(fi) > 1;
}

/* What the FIB is asked for an outer packet. */
static void ip_tnl_init_flowi4(struct flowi4 *fl4, struct net *net, const struct ip_tnl_flow *f,
			       u32 hash)
{
	ip_tunnel_init_flow(fl4, f->proto, f->daddr, f->saddr, f->key, f->tos & INET_DSCP_MASK,
			    net, f->link, f->mark, hash, f->flow_flags);
}

/* Mask of the flow hash for the route of @f: 0 unless it is a multipath route. */
static u32 ip_tnl_route_mask(struct net *net, const struct ip_tnl_flow *f)
{
	struct fib_result res;
	struct flowi4 fl4;
	u32 mask = 0;

	ip_tnl_init_flowi4(&fl4, net, f, 0);
	rcu_read_lock();
	if (!fib_lookup(net, &fl4, &res, 0) && ip_tnl_fib_is_multipath(res.fi))
		mask = IP_TNL_PATHS - 1;
	rcu_read_unlock();
	return mask;
}

/**
 * ip_tnl_route_output() - look up a route, without a cache
 * @net: namespace of the underlay
 * @f: proto, daddr, saddr, key, tos, link, mark and flow_flags are the lookup's; on
 *	success saddr is the source address to use
 * @hash: flow hash for a multipath route, or 0
 *
 * Context: any.
 *
 * Return: a reference to the route, or an ERR_PTR.
 */
struct rtable *ip_tnl_route_output(struct net *net, struct ip_tnl_flow *f, u32 hash)
{
	struct flowi4 fl4;
	struct rtable *rt;

	ip_tnl_init_flowi4(&fl4, net, f, hash);
	rt = ip_route_output_key(net, &fl4);
	if (!IS_ERR(rt))
		f->saddr = fl4.saddr;
	return rt;
}

/**
 * ip_tnl_route() - look up the route of a configuration
 * @net: namespace of the underlay
 * @p: configuration with a remote address
 * @saddr: set to the source address to use, unless NULL
 *
 * Context: any.
 *
 * Return: a reference to the route, or an ERR_PTR.
 */
struct rtable *ip_tnl_route(struct net *net, const struct ip_tnl_params *p, __be32 *saddr)
{
	struct ip_tnl_flow f = {
		.daddr	= p->remote,
		.saddr	= p->local,
		.key	= p->o_key,
		.proto	= p->protocol,
		.tos	= p->tos,
		.link	= p->link,
		.mark	= p->fwmark,
	};
	struct rtable *rt = ip_tnl_route_output(net, &f, 0);

	if (!IS_ERR(rt) && saddr)
		*saddr = f.saddr;
	return rt;
}
EXPORT_SYMBOL_GPL(ip_tnl_route);

/**
 * ip_tnl_route_lookup() - look up the route of an outer packet, and cache it
 * @skb: packet; its flow hash selects the path of a multipath route
 * @net: namespace of the underlay
 * @f: flow of the packet; on success saddr is the source address to use
 * @slot: caches for this destination and DSCP, or NULL
 *
 * A route with a lightweight tunnel is not cached: the cache may belong to that very
 * lightweight tunnel, which would hold a reference to itself. Nor is a multipath route
 * in the metadata's cache, which has room for one path.
 *
 * Context: softirq or BH off.
 *
 * Return: a reference to the route, or NULL.
 */
struct rtable *ip_tnl_route_lookup(struct sk_buff *skb, struct net *net, struct ip_tnl_flow *f,
				   struct ip_tnl_dst_caches **slot)
{
	struct dst_cache *cache = f->dst_cache;
	struct ip_tnl_dst_caches *r;
	u32 hash = 0, mask = 0;
	struct rtable *rt;
	__be32 none;

	if (slot || cache)
		mask = ip_tnl_route_mask(net, f);
	/* Of every packet of a flow or of none: the skb keeps the hash, and GRO compares it. */
	if (mask || !(slot || cache))
		hash = skb_get_hash(skb);
	/* One path for all flows that share a cache. */
	rt = ip_tnl_route_output(net, f, slot && mask ? (hash & mask) + 1 : hash);
	if (IS_ERR(rt))
		return NULL;
	if (rt->dst.lwtstate)
		return rt;
	if (slot) {
		r = ip_tnl_dst_caches_get(slot, mask);
		cache = r ? &r->cache[hash & mask] : NULL;
	} else if (mask) {
		cache = NULL;
	}
	if (cache) {
		/* On each CPU a dst_cache takes a route only after it was asked for one. */
		ip_rt_put(dst_cache_get_ip4(cache, &none));
		dst_cache_set_ip4(cache, &rt->dst, f->saddr);
	}
	return rt;
}
