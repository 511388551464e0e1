// SPDX-License-Identifier: GPL-2.0
/*
 * The gretap that openvswitch's vport-gre makes. Only built for kernels that
 * have that module; ip_gre_export.c exports it.
 */
#include <linux/etherdevice.h>
#include <net/gre.h>
#include <net/ip.h>

#include "ip_gre.h"

/**
 * gretap_fb_dev_create() - make a gretap in external mode (openvswitch)
 * @net: namespace of the device and of its packets
 * @name: its name, or a pattern with %d
 * @name_assign_type: NET_NAME_*
 *
 * Its MTU is as large as a packet can be.
 *
 * Context: RTNL.
 *
 * Return: the registered device, or an ERR_PTR: -EEXIST if @net has one.
 */
struct net_device *gretap_fb_dev_create(struct net *net, const char *name, u8 name_assign_type)
{
	const struct ip_tnl_params p = {
		.protocol	= IPPROTO_GRE,
		.collect_md	= true,
	};
	struct nlattr *tb[IFLA_MAX + 1] = { };
	struct net_device *dev;
	LIST_HEAD(kill);
	int err;

	dev = rtnl_create_link(net, name, name_assign_type, &ip_tnl_gretap_kind.link_ops, tb, NULL);
	if (IS_ERR(dev))
		return dev;
	eth_hw_addr_random(dev);
	err = ip_tnl_add(dev, net, &p, IP_MAX_MTU, NULL);
	if (err) {
		free_netdev(dev);
		return ERR_PTR(err);
	}
	err = rtnl_configure_link(dev, NULL, 0, NULL);
	if (err) {
		ip_tnl_dellink(dev, &kill);
		unregister_netdevice_many(&kill);
		return ERR_PTR(err);
	}
	return dev;
}
