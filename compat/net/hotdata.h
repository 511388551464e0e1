/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _COMPAT_NET_HOTDATA_H
#define _COMPAT_NET_HOTDATA_H

/* net.core.netdev_max_backlog was a variable of its own. */
#ifdef COMPAT_HAS_NET_HOTDATA_MAX_BACKLOG
#include_next <net/hotdata.h>
#define net_max_backlog()	READ_ONCE(net_hotdata.max_backlog)
#else
#include <linux/netdevice.h>
#define net_max_backlog()	READ_ONCE(netdev_max_backlog)
#endif

#endif
