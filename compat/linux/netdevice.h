/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _COMPAT_LINUX_NETDEVICE_H
#define _COMPAT_LINUX_NETDEVICE_H

#include_next <linux/netdevice.h>

/* The driver's ndo_start_xmit() needs no lock. */
static inline void netif_set_lltx(struct net_device *dev)
{
#ifdef COMPAT_HAS_NETDEV_LLTX
	dev->lltx = true;
#else
	dev->features |= NETIF_F_LLTX;
#endif
}

/* The device stays in the namespace that it was made in. */
static inline void netif_set_netns_immutable(struct net_device *dev)
{
#if defined(COMPAT_HAS_NETDEV_NETNS_IMMUTABLE)
	dev->netns_immutable = true;
#elif defined(COMPAT_HAS_NETDEV_NETNS_LOCAL)
	dev->netns_local = true;
#else
	dev->features |= NETIF_F_NETNS_LOCAL;
#endif
}

#ifndef COMPAT_HAS_ALLOC_NETDEV_DUMMY
static inline void compat_dummy_setup(struct net_device *dev)
{
	set_bit(__LINK_STATE_START, &dev->state);
}

/* A device that only NAPI contexts know; free_netdev() frees it. */
static inline struct net_device *alloc_netdev_dummy(int sizeof_priv)
{
	return alloc_netdev(sizeof_priv, "dummy#", NET_NAME_UNKNOWN, compat_dummy_setup);
}
#endif

/*
 * header_ops.parse: write fn() with the device, put DEFINE_HEADER_PARSE(fn)
 * once after it, and use HEADER_PARSE(fn) for it.
 */
#ifdef COMPAT_HAS_HEADER_PARSE_DEV
#define DEFINE_HEADER_PARSE(fn)	static_assert(true)
#define HEADER_PARSE(fn)	(fn)
#else
#define DEFINE_HEADER_PARSE(fn)							\
static int compat_##fn(const struct sk_buff *skb, unsigned char *haddr)	\
{										\
	return fn(skb, skb->dev, haddr);					\
}										\
static_assert(true)
#define HEADER_PARSE(fn)	compat_##fn
#endif

/*
 * ndo_fill_forward_path of an IPv4 tunnel that carries IPv4: netfilter's flow
 * table puts the outer header on itself. FORWARD_PATH_TUN(fn) is NULL where
 * there is no such kind of path; then the endpoints it, as it should.
 * The flow table looks up the route to daddr itself, or where the path says
 * what is inside as inner_proto, takes over dst and the reference to it.
 *
 * Return: true if it does that, and dst is not the caller's any more.
 */
#ifdef COMPAT_HAS_DEV_PATH_TUN
#define FORWARD_PATH_TUN(fn)	(fn)
static inline bool forward_path_set_tun(struct net_device_path *path, struct dst_entry *dst,
					__be32 saddr, __be32 daddr)
{
	path->type = DEV_PATH_TUN;
	path->tun.src_v4.s_addr = saddr;
	path->tun.dst_v4.s_addr = daddr;
#ifdef COMPAT_HAS_PATH_TUN_INNER_PROTO
	path->tun.inner_proto = IPPROTO_IPIP;
	path->tun.dst = dst;
	return true;
#else
	path->tun.l3_proto = IPPROTO_IPIP;
	return false;
#endif
}

/* Is the flow one of IPv4, as far as the kernel says? */
static inline bool forward_path_is_ipv4(const struct net_device_path_ctx *ctx)
{
#ifdef COMPAT_HAS_PATH_CTX_ETHER_TYPE
	return ctx->ether_type == htons(ETH_P_IP);
#else
	return true;
#endif
}
#else
#define FORWARD_PATH_TUN(fn)	(true ? NULL : (fn))
static inline bool forward_path_set_tun(struct net_device_path *path, struct dst_entry *dst,
					__be32 saddr, __be32 daddr)
{
	return false;
}

static inline bool forward_path_is_ipv4(const struct net_device_path_ctx *ctx)
{
	return true;
}
#endif

#endif
