/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _COMPAT_NET_GRE_H
#define _COMPAT_NET_GRE_H

#include_next <net/gre.h>

#ifndef COMPAT_HAS_TUNNEL_FLAGS_BITMAP
/* Returns the flags there; since 6.10 it writes them to a bitmap. */
#define gre_flags_to_tnl_flags(dst, flags) ((dst) = gre_flags_to_tnl_flags(flags))
#endif

#endif
