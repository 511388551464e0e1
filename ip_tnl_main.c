// SPDX-License-Identifier: GPL-2.0
/*
 * ip_tunnel_core: what all tunnel kinds share.
 *
 * This file: the registration of kinds, their state in a namespace, the module.
 * Below it, each file calls only those under it:
 *
 *	ip_tnl_netlink.c	parameters from ip link
 *	ip_tnl_ioctl.c		parameters from ip tunnel
 *	ip_tnl_config.c		from parameters to a configured device
 *	ip_tnl_dev.c		the life of a device
 *	ip_tnl_carry.c		what is handed over to the next driver
 *	ip_tnl_icmp.c		errors that come back
 *	ip_tnl_rx.c		receive
 *	ip_tnl_backlog.c	and on to the payload's stack
 *	ip_tnl_table.c		which tunnel a packet belongs to
 *	ip_tnl_tx.c		transmit
 *	ip_tnl_route.c		and by which route
 *	ip_tnl_gso.c		sequence numbers of GSO packets
 */
#include <linux/module.h>

#include "ip_tnl_internal.h"
#include "iptnl_version.h"

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
	struct ip_tnl_net *tn = ip_tnl_net(net, kind);
	struct ip_tnl_params any = kind->defaults;
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
	any.protocol = kind->fallback_protocol;

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
 * A device that was deleted a moment ago may be waited for yet, by whoever deleted it:
 * rtnl_link_unregister() sees to these. After it only the fallback devices are left, which
 * nobody can delete; so no other may be made.
 *
 * Context: process.
 */
void ip_tnl_kind_unregister(struct ip_tnl_kind *kind)
{
	rtnl_lock();
	kind->closing = true;
	rtnl_unlock();
	rtnl_link_unregister(&kind->link_ops);
	unregister_pernet_device(&kind->device_ops);
	unregister_pernet_subsys(&kind->table_ops);
}
EXPORT_SYMBOL_GPL(ip_tnl_kind_unregister);

static int __init ip_tnl_core_init(void)
{
	int err;

	ip_tnl_table_seed();
	err = ip_tnl_backlog_init();
	if (err)
		return err;
	err = ip_tnl_rx_init();
	if (err)
		goto exit_backlog;
	err = ip_tnl_carry_init();
	if (err)
		goto exit_rx;
	return 0;

exit_rx:
	ip_tnl_rx_exit();
exit_backlog:
	ip_tnl_backlog_exit();
	return err;
}

static void __exit ip_tnl_core_exit(void)
{
	ip_tnl_carry_exit();
	ip_tnl_rx_exit();
	ip_tnl_backlog_exit();
	rcu_barrier();		/* entries and routes are freed by us */
}

module_init(ip_tnl_core_init);
module_exit(ip_tnl_core_exit);
MODULE_DESCRIPTION("iptnl: code shared by the IPv4 tunnel drivers");
MODULE_LICENSE("GPL");
MODULE_VERSION(IPTNL_VERSION);
IPTNL_NOTE;
