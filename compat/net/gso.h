/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _COMPAT_NET_GSO_H
#define _COMPAT_NET_GSO_H

#ifdef COMPAT_HAS_NET_GSO
#include_next <net/gso.h>
#else
#include <linux/netdevice.h>
#endif

#endif
