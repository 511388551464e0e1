/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _COMPAT_NET_IP_TUNNELS_H
#define _COMPAT_NET_IP_TUNNELS_H

#include_next <net/ip_tunnels.h>

#ifndef COMPAT_HAS_TUNNEL_FLAGS_BITMAP
/* One structure served user and kernel until the flags became a bitmap. */
#define ip_tunnel_parm_kern ip_tunnel_parm

/* Tunnel flags were a mask; ip_tnl_flag_*() take the name that mask and bit share. */
#define IP_TUNNEL_DECLARE_FLAGS(name)		__be16 name
#define ip_tnl_flag_test(flags, name)		(!!((flags) & TUNNEL_##name))
#define ip_tnl_flag_set(flags, name)		((void)((flags) |= TUNNEL_##name))
#else
#define ip_tnl_flag_test(flags, name)		test_bit(IP_TUNNEL_##name##_BIT, flags)
#define ip_tnl_flag_set(flags, name)		__set_bit(IP_TUNNEL_##name##_BIT, flags)
#endif

#ifndef IP_TUNNEL_RECURSION_LIMIT
#define IP_TUNNEL_RECURSION_LIMIT	5

/*
 * A tunnel that is routed into itself by way of others comes back here for each
 * of them, with a route lookup and IP output on the stack every time. Newer
 * kernels stop that inside iptunnel_xmit().
 */
static inline void compat_iptunnel_xmit(struct sock *sk, struct rtable *rt, struct sk_buff *skb,
					__be32 src, __be32 dst, u8 proto, u8 tos, u8 ttl,
					__be16 df, bool xnet)
{
	if (unlikely(dev_recursion_level() > IP_TUNNEL_RECURSION_LIMIT)) {
		net_crit_ratelimited("%s: tunnels are routed into each other, packet dropped\n",
				     skb->dev->name);
		DEV_STATS_INC(skb->dev, tx_errors);
		ip_rt_put(rt);
		kfree_skb(skb);
		return;
	}
	dev_xmit_recursion_inc();
	iptunnel_xmit(sk, rt, skb, src, dst, proto, tos, ttl, df, xnet);
	dev_xmit_recursion_dec();
}

#define iptunnel_xmit(sk, rt, skb, src, dst, proto, tos, ttl, df, xnet, ipcb_flags) \
	compat_iptunnel_xmit(sk, rt, skb, src, dst, proto, tos, ttl, df, xnet)

#elif !defined(COMPAT_HAS_IPTUNNEL_XMIT_IPCB_FLAGS)
#define iptunnel_xmit(sk, rt, skb, src, dst, proto, tos, ttl, df, xnet, ipcb_flags) \
	iptunnel_xmit(sk, rt, skb, src, dst, proto, tos, ttl, df, xnet)
#endif

#endif
