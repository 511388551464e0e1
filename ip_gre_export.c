// SPDX-License-Identifier: GPL-2.0
/*
 * The symbol that openvswitch uses.
 *
 * Its CRC covers every type that is complete where it is exported. These are
 * the headers that give it the value it has in the kernel; anything more, as
 * rhashtable.h, would change it. tools/check-symbols compares.
 */
#include <linux/igmp.h>
#include <linux/inetdevice.h>
#include <linux/module.h>
#include <linux/netfilter_ipv4.h>
#include <net/dst_metadata.h>
#include <net/gre.h>
#include <net/xfrm.h>

EXPORT_SYMBOL_GPL(gretap_fb_dev_create);
