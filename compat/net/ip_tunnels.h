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
#define ip_tnl_flags_equal(a, b)		((a) == (b))
#define ip_tnl_flags_arg			__be16
#else
#define ip_tnl_flag_test(flags, name)		test_bit(IP_TUNNEL_##name##_BIT, flags)
#define ip_tnl_flag_set(flags, name)		__set_bit(IP_TUNNEL_##name##_BIT, flags)
#define ip_tnl_flags_equal(a, b)		bitmap_equal(a, b, __IP_TUNNEL_FLAG_NUM)
#define ip_tnl_flags_arg			const unsigned long *
#endif

#ifndef COMPAT_HAS_IP_TUNNEL_LIMIT_HEADROOM
/* As much as ip_tunnel_adj_headroom() lets a device ask for. */
static inline unsigned int ip_tunnel_limit_headroom(unsigned int headroom)
{
	return min(headroom, 512U);
}
#endif

#ifndef IP_TUNNEL_RECURSION_LIMIT
#define IP_TUNNEL_RECURSION_LIMIT	5
#endif

#endif
