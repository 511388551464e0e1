// SPDX-License-Identifier: GPL-2.0
/*
 * The route of an outer packet, and what is kept of it.
 *
 * A configuration with a remote address has one destination, so its route is
 * looked up once and kept: for each DSCP where the payload's is taken. Where the
 * route has several next hops (multipath), the inner flows are spread over them by
 * their hash: as many routes are kept as a hash has values under a mask, each chosen
 * by the fib for one of the values. So a flow stays on its path, and a tunnel
 * whose route has one next hop computes no hash.
 *
 * A route that is kept does not say whether it is one of many. So the fib is
 * asked when one is looked up, which it is whenever routes have changed.
 */
#include <linux/slab.h>
#include <net/dst_cache.h>
#include <net/ip_fib.h>
#include <net/nexthop.h>
#include <net/route.h>

#include "ip_tnl.h"

/* How many routes are kept where there are several next hops. */
#define IP_TNL_PATHS		16

/*
 * For how long. The fib takes next hops into account that are down, the neighbours'
 * state and the buckets of resilient groups when it chooses, but tells nobody.
 */
#define IP_TNL_PATHS_TIME	(HZ / 2)

static void ip_tnl_routes_free_rcu(struct rcu_head *rcu)
{
	ip_tnl_routes_free(container_of(rcu, struct ip_tnl_routes, rcu));
}

/**
 * ip_tnl_routes_free() - free the routes that were kept
 * @r: routes without readers, or NULL
 *
 * Context: any.
 */
void ip_tnl_routes_free(struct ip_tnl_routes *r)
{
	unsigned int i;

	if (!r)
		return;
	for (i = 0; i <= r->mask; i++)
		dst_cache_destroy(&r->cache[i]);
	kfree(r);
}

static struct ip_tnl_routes *ip_tnl_routes_alloc(u32 mask)
{
	struct ip_tnl_routes *r;

	r = kzalloc(struct_size(r, cache, mask + 1), GFP_ATOMIC | __GFP_NOWARN);
	if (!r)
		return NULL;
	r->expires = jiffies + IP_TNL_PATHS_TIME;
	for (r->mask = 0; r->mask <= mask; r->mask++) {
		if (dst_cache_init(&r->cache[r->mask], GFP_ATOMIC | __GFP_NOWARN)) {
			ip_tnl_routes_free(r);
			return NULL;
		}
		/* A cache keeps what is newer than its last reset, which is counted in ticks. */
		r->cache[r->mask].reset_ts = jiffies - 1;
	}
	r->mask = mask;
	return r;
}

/* The place for routes of which there are so many. Return: NULL when out of memory. */
static struct ip_tnl_routes *ip_tnl_routes_get(struct ip_tnl_routes **slot, u32 mask)
{
	struct ip_tnl_routes *old = READ_ONCE(*slot);
	struct ip_tnl_routes *new, *other;

	if (old && old->mask == mask)
		return old;
	new = ip_tnl_routes_alloc(mask);
	if (!new)
		return NULL;
	other = cmpxchg(slot, old, new);
	if (other != old) {
		ip_tnl_routes_free(new);
		return other->mask == mask ? other : NULL;
	}
	if (old)
		call_rcu(&old->rcu, ip_tnl_routes_free_rcu);
	return new;
}

/* The next hops are chosen anew from now on. */
static void ip_tnl_routes_expire(struct ip_tnl_routes *r)
{
	unsigned int i;

	WRITE_ONCE(r->expires, jiffies + IP_TNL_PATHS_TIME);
	for (i = 0; i <= r->mask; i++)
		WRITE_ONCE(r->cache[i].reset_ts, jiffies - 1);
}

/**
 * ip_tnl_routes_path() - which of several routes a packet takes
 * @r: the routes
 * @skb: the packet, whose flow decides
 *
 * Context: softirq or BH off.
 *
 * Return: where its route is kept, if it is.
 */
struct dst_cache *ip_tnl_routes_path(struct ip_tnl_routes *r, struct sk_buff *skb)
{
	if (time_after(jiffies, READ_ONCE(r->expires)))
		ip_tnl_routes_expire(r);
	return &r->cache[skb_get_hash(skb) & r->mask];
}

/* Whether there are several next hops, or may be at any time, in a group of them. */
static bool ip_tnl_fib_is_multipath(const struct fib_info *fi)
{
	return fi->nh ? nexthop_is_multipath(fi->nh) : fib_info_num_path(fi) > 1;
}

/* The mask of a flow's hash that goes with a route: 0 if there is one next hop. */
static u32 ip_tnl_route_mask(struct net *net, const struct flowi4 *fl4)
{
	struct flowi4 copy = *fl4;
	struct fib_result res;
	u32 mask = 0;

	rcu_read_lock();
	if (!fib_lookup(net, &copy, &res, 0) && ip_tnl_fib_is_multipath(res.fi))
		mask = IP_TNL_PATHS - 1;
	rcu_read_unlock();
	return mask;
}

/**
 * ip_tnl_route_lookup() - look up the route of an outer packet, and keep it
 * @skb: the packet, whose flow decides where there are several next hops
 * @net: namespace of the underlay
 * @f: how it leaves; on success @saddr is the source that goes with the route
 * @slot: where routes of this destination and DSCP are kept, or NULL
 *
 * A route with a lightweight tunnel is not kept: the cache may be that tunnel's own,
 * which would then hold itself for ever. The cache of a packet's metadata holds one
 * route, so none of many.
 *
 * Context: softirq or BH off.
 *
 * Return: a reference to the route, or NULL.
 */
struct rtable *ip_tnl_route_lookup(struct sk_buff *skb, struct net *net, struct ip_tnl_flow *f,
				   struct ip_tnl_routes **slot)
{
	struct dst_cache *cache = f->dst_cache;
	struct ip_tnl_routes *r;
	u32 hash = 0, mask = 0;
	struct flowi4 fl4;
	struct rtable *rt;
	__be32 none;

	ip_tunnel_init_flow(&fl4, f->proto, f->daddr, f->saddr, f->key,
			    f->tos & INET_DSCP_MASK, net, f->link, f->mark, 0, 0);
	if (slot || cache)
		mask = ip_tnl_route_mask(net, &fl4);
	/* Of all packets of a flow or of none: the hash goes with the packet, and GRO looks at it. */
	if (mask || !(slot || cache))
		hash = skb_get_hash(skb);
	/* All flows that share a place have the same path. */
	fl4.flowi4_multipath_hash = slot && mask ? (hash & mask) + 1 : hash;
	rt = ip_route_output_key(net, &fl4);
	if (IS_ERR(rt))
		return NULL;
	f->saddr = fl4.saddr;
	if (rt->dst.lwtstate)
		return rt;
	if (slot) {
		r = ip_tnl_routes_get(slot, mask);
		cache = r ? &r->cache[hash & mask] : NULL;
	} else if (mask) {
		cache = NULL;
	}
	if (cache) {
		/* On each CPU it takes nothing before it was asked. */
		dst_cache_get_ip4(cache, &none);
		dst_cache_set_ip4(cache, &rt->dst, fl4.saddr);
	}
	return rt;
}
