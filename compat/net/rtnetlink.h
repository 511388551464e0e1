/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _COMPAT_NET_RTNETLINK_H
#define _COMPAT_NET_RTNETLINK_H

#include_next <net/rtnetlink.h>

/*
 * rtnl_link_ops.newlink: write fn() in the newest form, put
 * DEFINE_RTNL_NEWLINK(fn) once after it, and use RTNL_NEWLINK(fn) for it.
 */
#ifdef COMPAT_HAS_RTNL_NEWLINK_PARAMS
#define DEFINE_RTNL_NEWLINK(fn)	static_assert(true)
#define RTNL_NEWLINK(fn)	(fn)
#else
struct rtnl_newlink_params {
	struct net *src_net;
	struct net *link_net;
	struct net *peer_net;
	struct nlattr **tb;
	struct nlattr **data;
};

/* The core creates the device in the link's namespace and moves it later. */
#define DEFINE_RTNL_NEWLINK(fn)							\
static int compat_##fn(struct net *src_net, struct net_device *dev,		\
		       struct nlattr *tb[], struct nlattr *data[],		\
		       struct netlink_ext_ack *extack)				\
{										\
	struct rtnl_newlink_params params = {					\
		.src_net = src_net, .tb = tb, .data = data,			\
	};									\
										\
	return fn(dev, &params, extack);					\
}										\
static_assert(true)
#define RTNL_NEWLINK(fn)	compat_##fn
#endif

#ifndef COMPAT_HAS_RTNL_DEV_LINK_NET_CAPABLE
static inline bool rtnl_dev_link_net_capable(const struct net_device *dev,
					     const struct net *link_net)
{
	return net_eq(link_net, dev_net(dev)) || ns_capable(link_net->user_ns, CAP_NET_ADMIN);
}
#endif

#endif
