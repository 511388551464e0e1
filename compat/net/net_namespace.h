/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _COMPAT_NET_NET_NAMESPACE_H
#define _COMPAT_NET_NET_NAMESPACE_H

#include_next <net/net_namespace.h>

/*
 * pernet_operations.exit_rtnl: write fn() for one namespace, put
 * DEFINE_PERNET_EXIT_RTNL(fn) once after it, and PERNET_EXIT_RTNL(fn) into the
 * initialiser.
 */
#ifdef COMPAT_HAS_PERNET_EXIT_RTNL
#define DEFINE_PERNET_EXIT_RTNL(fn)	static_assert(true)
#define PERNET_EXIT_RTNL(fn)		.exit_rtnl = fn
#else
#define DEFINE_PERNET_EXIT_RTNL(fn)						\
static void __net_exit compat_##fn(struct list_head *nets, struct list_head *kill) \
{										\
	struct net *net;							\
										\
	list_for_each_entry(net, nets, exit_list)				\
		fn(net, kill);							\
}										\
static_assert(true)
#define PERNET_EXIT_RTNL(fn)		.exit_batch_rtnl = compat_##fn
#endif

#endif
