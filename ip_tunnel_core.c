// SPDX-License-Identifier: GPL-2.0
/*
 * iptnl: what all tunnel kinds share.
 *
 * This file: a kind's registration, its state in a namespace, and the life of
 * a device from setup to free. The rest of the module:
 *
 *	ip_tnl_carry.c		what is carried to the next driver
 *	ip_tnl_table.c		which tunnel a packet belongs to
 *	ip_tnl_rx.c		out of the tunnel
 *	ip_tnl_cell.c		and to the payload's stack
 *	ip_tnl_tx.c		into the tunnel
 *	ip_tnl_route.c		by which route
 *	ip_tnl_icmp.c		errors that come back
 *	ip_tnl_config.c		from parameters to a configured device
 *	ip_tnl_netlink.c	parameters from ip link
 *	ip_tnl_ioctl.c		parameters from ip tunnel
 *
 * Lifetime of a tunnel. ip_tnl_uninit() takes its entry out of the table. It
 * runs after the device is down and unlisted, and unregister_netdevice_many()
 * waits for a grace period between it and the priv_destructor; so a packet
 * that still found the entry is in its CPU's queue by then. ip_tnl_free() waits
 * until it has left that, and with it the device, which the core then frees.
 */
#include <linux/ethtool.h>
#include <linux/if_arp.h>
#include <linux/module.h>
#include <net/gre.h>

#include "ip_tnl.h"
#include "iptnl_version.h"

/*
 * Of payloads that are no tunnels' packets. Those are segmented and have their
 * checksum when they come (hw_enc_features stays the core's): who takes the outer
 * header off could not say any more that there is still a tunnel in the packet.
 */
#define IP_TNL_FEATURES	(NETIF_F_SG | NETIF_F_FRAGLIST | NETIF_F_HIGHDMA | \
			 NETIF_F_HW_CSUM | NETIF_F_GSO_SOFTWARE)

static void ip_tnl_free(struct net_device *dev)
{
	ip_tnl_cells_settle();
}

static void ip_tnl_get_drvinfo(struct net_device *dev, struct ethtool_drvinfo *info)
{
	strscpy(info->driver, dev->rtnl_link_ops->kind, sizeof(info->driver));
	strscpy(info->version, IPTNL_VERSION, sizeof(info->version));
}

static const struct ethtool_ops ip_tnl_ethtool_ops = {
	.get_drvinfo	= ip_tnl_get_drvinfo,
};

/**
 * ip_tnl_setup() - what all tunnel devices have in common
 * @dev: device just allocated; of an Ethernet kind, through ether_setup()
 *	already; the kind sets its type and operations
 * @kind: its kind
 *
 * Context: process.
 */
void ip_tnl_setup(struct net_device *dev, struct ip_tnl_kind *kind)
{
	struct ip_tnl *t = netdev_priv(dev);

	INIT_LIST_HEAD(&t->list);
	t->tunnel.dev = dev;
	t->tunnel.ip_tnl_net_id = kind->net_id;

	dev->rtnl_link_ops = &kind->link_ops;
	dev->ethtool_ops = &ip_tnl_ethtool_ops;
	if (dev->type != ARPHRD_ETHER) {
		dev->flags = IFF_NOARP;
		dev->addr_len = 4;
	}
	dev->features |= IP_TNL_FEATURES;
	dev->hw_features |= IP_TNL_FEATURES;
	dev->vlan_features |= IP_TNL_FEATURES;
	dev->mpls_features |= IP_TNL_FEATURES & ~NETIF_F_GSO_MASK;
	netif_set_lltx(dev);
	netif_keep_dst(dev);
	dev->pcpu_stat_type = NETDEV_PCPU_STAT_TSTATS;
	dev->needs_free_netdev = true;
	dev->priv_destructor = ip_tnl_free;
}
EXPORT_SYMBOL_GPL(ip_tnl_setup);

/**
 * ip_tnl_fix_features() - ndo_fix_features
 * @dev: tunnel device
 * @features: wanted
 *
 * No segmenter puts a GRE checksum or sequence number below a UDP header; and that of UDP
 * marks segments whose checksum it leaves to the far end as if that had finished it, which
 * a far end on this host believes.
 *
 * Context: RTNL.
 *
 * Return: what can be had with the present configuration.
 */
netdev_features_t ip_tnl_fix_features(struct net_device *dev, netdev_features_t features)
{
	const struct ip_tnl_entry *e = ip_tnl_entry_rtnl(netdev_priv(dev));

	if (!e || e->p.encap.type == TUNNEL_ENCAP_NONE)
		return features;
	if (e->p.o_flags & (GRE_CSUM | GRE_SEQ) || e->p.encap.flags & TUNNEL_ENCAP_FLAG_REMCSUM)
		features &= ~NETIF_F_GSO_SOFTWARE;
	return features;
}
EXPORT_SYMBOL_GPL(ip_tnl_fix_features);

/**
 * ip_tnl_init() - ndo_init
 * @dev: device being registered
 *
 * Context: RTNL.
 *
 * Return: 0.
 */
int ip_tnl_init(struct net_device *dev)
{
	netdev_lockdep_set_classes(dev);
	return 0;
}
EXPORT_SYMBOL_GPL(ip_tnl_init);

/**
 * ip_tnl_uninit() - ndo_uninit: no packet finds the tunnel any more
 * @dev: device that is down; may have been through here before
 *
 * Context: RTNL.
 */
void ip_tnl_uninit(struct net_device *dev)
{
	struct ip_tnl_kind *kind = ip_tnl_kind(dev);
	struct ip_tnl *t = netdev_priv(dev);
	struct ip_tnl_net *tn = ip_tnl_net(t->tunnel.net, kind);
	struct ip_tnl_entry *e = ip_tnl_entry_rtnl(t);

	if (rtnl_dereference(tn->fallback) == dev)
		RCU_INIT_POINTER(tn->fallback, NULL);
	if (rtnl_dereference(tn->external) == dev)
		RCU_INIT_POINTER(tn->external, NULL);
	if (!e)
		return;
	RCU_INIT_POINTER(t->entry, NULL);
	list_del_init(&t->list);
	ip_tnl_table_remove(tn, e);
}
EXPORT_SYMBOL_GPL(ip_tnl_uninit);

/**
 * ip_tnl_net_init() - pernet init of a kind's table
 * @net: namespace
 * @kind: the kind
 *
 * Context: process, no locks.
 *
 * Return: 0 or -ENOMEM.
 */
int ip_tnl_net_init(struct net *net, const struct ip_tnl_kind *kind)
{
	struct ip_tnl_net *tn = ip_tnl_net(net, kind);

	INIT_LIST_HEAD(&tn->tunnels);
	return ip_tnl_table_init(tn);
}
EXPORT_SYMBOL_GPL(ip_tnl_net_init);

/**
 * ip_tnl_net_exit() - pernet exit of a kind's table
 * @net: namespace that ends
 * @kind: the kind
 *
 * Packets are looked up as long as the namespace has a device that they can
 * come in by, which is longer than it has tunnels. The table belongs to a
 * pernet subsystem, whose exit runs when the last device is gone.
 *
 * Context: process.
 */
void ip_tnl_net_exit(struct net *net, const struct ip_tnl_kind *kind)
{
	ip_tnl_table_destroy(ip_tnl_net(net, kind));
}
EXPORT_SYMBOL_GPL(ip_tnl_net_exit);

/**
 * ip_tnl_fallback_init() - pernet init of a kind's devices
 * @net: namespace
 * @kind: the kind
 *
 * Makes the fallback device where net.core.fb_tunnels_only_for_init_net wants
 * one.
 *
 * Context: process, no locks.
 *
 * Return: 0 or a negative errno.
 */
int ip_tnl_fallback_init(struct net *net, struct ip_tnl_kind *kind)
{
	const struct ip_tnl_params any = {
		.protocol	= kind->fallback_protocol,
		.erspan_ver	= 1,
	};
	struct ip_tnl_net *tn = ip_tnl_net(net, kind);
	struct net_device *dev;
	int err;

	if (!net_has_fallback_tunnels(net))
		return 0;
	dev = alloc_netdev(kind->link_ops.priv_size, kind->fallback_name, NET_NAME_UNKNOWN,
			   kind->link_ops.setup);
	if (!dev)
		return -ENOMEM;
	dev_net_set(dev, net);
	netif_set_netns_immutable(dev);

	rtnl_lock();
	rcu_assign_pointer(tn->fallback, dev);
	dev->ifindex = ip_tnl_wanted_index(net, kind->fallback_name);
	err = ip_tnl_add(dev, net, &any, 0, NULL);
	if (err)
		RCU_INIT_POINTER(tn->fallback, NULL);
	rtnl_unlock();
	if (err)
		free_netdev(dev);
	return err;
}
EXPORT_SYMBOL_GPL(ip_tnl_fallback_init);

/**
 * ip_tnl_net_exit_rtnl() - pernet exit_rtnl of a kind's devices
 * @net: namespace that ends
 * @kind: the kind
 * @kill: devices to unregister are queued here
 *
 * Every tunnel whose packets @net carries goes, wherever its device is. Devices
 * in @net that another namespace carries go with the rest of the namespace's
 * devices, by ip_tnl_dellink().
 *
 * Context: RTNL.
 */
void ip_tnl_net_exit_rtnl(struct net *net, const struct ip_tnl_kind *kind,
			  struct list_head *kill)
{
	struct ip_tnl_net *tn = ip_tnl_net(net, kind);
	struct ip_tnl *t;

	list_for_each_entry(t, &tn->tunnels, list)
		unregister_netdevice_queue(t->tunnel.dev, kill);
}
EXPORT_SYMBOL_GPL(ip_tnl_net_exit_rtnl);

DEFINE_RTNL_NEWLINK(ip_tnl_newlink);

/**
 * ip_tnl_kind_register() - make a kind available to ip link and ip tunnel
 * @kind: filled by the caller but for the operations that all kinds share
 *
 * Context: process.
 *
 * Return: 0 or a negative errno.
 */
int ip_tnl_kind_register(struct ip_tnl_kind *kind)
{
	struct rtnl_link_ops *ops = &kind->link_ops;
	int err;

	ops->priv_size = sizeof(struct ip_tnl);
	ops->newlink = RTNL_NEWLINK(ip_tnl_newlink);
	ops->changelink = ip_tnl_changelink;
	ops->dellink = ip_tnl_dellink;
	ops->get_size = ip_tnl_get_size;
	ops->fill_info = ip_tnl_fill_info;
	ops->get_link_net = ip_tnl_get_link_net;

	err = register_pernet_subsys(&kind->table_ops);
	if (err)
		return err;
	err = register_pernet_device(&kind->device_ops);
	if (err)
		goto unregister_tables;
	err = rtnl_link_register(ops);
	if (err)
		goto unregister_devices;
	return 0;

unregister_devices:
	unregister_pernet_device(&kind->device_ops);
unregister_tables:
	unregister_pernet_subsys(&kind->table_ops);
	return err;
}
EXPORT_SYMBOL_GPL(ip_tnl_kind_register);

/**
 * ip_tnl_kind_unregister() - take a kind and all of its devices away
 * @kind: registered kind
 *
 * Context: process.
 */
void ip_tnl_kind_unregister(struct ip_tnl_kind *kind)
{
	rtnl_link_unregister(&kind->link_ops);
	unregister_pernet_device(&kind->device_ops);
	unregister_pernet_subsys(&kind->table_ops);
}
EXPORT_SYMBOL_GPL(ip_tnl_kind_unregister);

static int __init ip_tnl_core_init(void)
{
	int err = ip_tnl_cells_init();

	if (err)
		return err;
	err = ip_tnl_rx_init();
	if (err)
		goto exit_cells;
	err = ip_tnl_carry_init();
	if (err)
		goto exit_rx;
	return 0;

exit_rx:
	ip_tnl_rx_exit();
exit_cells:
	ip_tnl_cells_exit();
	return err;
}

static void __exit ip_tnl_core_exit(void)
{
	ip_tnl_carry_exit();
	ip_tnl_rx_exit();
	ip_tnl_cells_exit();
	rcu_barrier();		/* entries and routes are freed by us */
}

module_init(ip_tnl_core_init);
module_exit(ip_tnl_core_exit);
MODULE_DESCRIPTION("iptnl: code shared by the IPv4 tunnel drivers");
MODULE_LICENSE("GPL");
MODULE_VERSION(IPTNL_VERSION);
IPTNL_NOTE;
