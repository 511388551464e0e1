// SPDX-License-Identifier: GPL-2.0
/*
 * From parameters to a configured device.
 *
 * ip link and ip tunnel both end here, with a complete &struct ip_tnl_params.
 * It is checked first and then applied as a whole: packets see either the old
 * configuration or the new one, and an error leaves the old one untouched.
 */
#include <linux/if_arp.h>
#include <net/gre.h>
#include <net/ip.h>
#include <net/route.h>

#include "ip_tnl_internal.h"

/* The underlay device, if there is a route or a link, or NULL. */
static struct net_device *ip_tnl_lower_dev(struct net *net, const struct ip_tnl_params *p)
{
	struct net_device *lower = NULL;
	struct rtable *rt;

	if (p->remote) {
		rt = ip_tnl_route(net, p, NULL);
		if (!IS_ERR(rt)) {
			lower = READ_ONCE(rt->dst.dev);	/* RTNL keeps it */
			ip_rt_put(rt);
		}
	}
	if (!lower && p->link)
		lower = __dev_get_by_index(net, p->link);
	return lower;
}

/* Sets the needed headroom from the underlay device. Return: the MTU that goes with it. */
static int ip_tnl_bind(struct net_device *dev, const struct ip_tnl_params *p)
{
	struct ip_tunnel *t = netdev_priv(dev);
	struct net_device *lower = ip_tnl_lower_dev(t->net, p);
	unsigned int room = LL_MAX_HEADER;
	int mtu = ETH_DATA_LEN;

	if (lower) {
		room = lower->hard_header_len + READ_ONCE(lower->needed_headroom);
		mtu = min_t(int, READ_ONCE(lower->mtu), IP_MAX_MTU);
	}
	WRITE_ONCE(dev->needed_headroom,
		   ip_tunnel_limit_headroom(room + sizeof(struct iphdr) +
					    ip_tnl_hlen(dev, p)));
	return max(mtu - ip_tnl_mtu_overhead(dev, p), IPV4_MIN_MTU);
}

/*
 * Copies @p to where others read it, in the net_device and its struct ip_tunnel: the core,
 * dumps, other drivers. Transmit and receive do not read it there.
 */
static void ip_tnl_sync_parms(struct net_device *dev, const struct ip_tnl_params *p)
{
	struct ip_tunnel *t = netdev_priv(dev);

	gre_flags_to_tnl_flags(t->parms.i_flags, p->i_flags);
	gre_flags_to_tnl_flags(t->parms.o_flags, p->o_flags);
	t->parms.i_key = p->i_key;
	t->parms.o_key = p->o_key;
	WRITE_ONCE(t->parms.link, p->link);
	t->parms.iph = (struct iphdr) {
		.version	= 4,
		.ihl		= 5,
		.protocol	= p->protocol,
		.frag_off	= p->df,
		.ttl		= p->ttl,
		.tos		= p->tos,
		.saddr		= p->local,
		.daddr		= p->remote,
	};
	t->fwmark = p->fwmark;
	t->ignore_df = p->ignore_df;
	t->collect_md = p->collect_md;
	t->erspan_ver = p->erspan_ver;
	t->index = p->erspan_index;
	t->dir = p->erspan_dir;
	t->hwid = p->erspan_hwid;
	t->encap_hlen = ip_tnl_encap_hlen(dev, p);
	t->encap = p->encap;
	t->hlen = ip_tnl_hlen(dev, p);
	t->tun_hlen = t->hlen - t->encap_hlen;

	if (dev->type == ARPHRD_ETHER)
		return;
	__dev_addr_set(dev, &p->local, sizeof(p->local));
	memcpy(dev->broadcast, &p->remote, sizeof(p->remote));
}

static int ip_tnl_check_duplicate(struct ip_tnl_net *tn, const struct ip_tnl *t,
				  const struct ip_tnl_params *p, struct netlink_ext_ack *extack)
{
	/* An unchanged tunnel may have duplicates: a device in external mode has. */
	if (t && ip_tnl_is_duplicate(&ip_tnl_entry_rtnl(t)->p, p))
		return 0;
	if (!ip_tnl_table_find(tn, p))
		return 0;
	NL_SET_ERR_MSG(extack, "A tunnel with these addresses, key and link exists");
	return -EEXIST;
}

/* There can be one device in external mode, since it takes all other packets. */
static int ip_tnl_check_collect_md(struct ip_tnl_net *tn, struct netlink_ext_ack *extack)
{
	if (!rtnl_dereference(tn->collect_md_dev))
		return 0;
	NL_SET_ERR_MSG(extack, "A device of this kind in external mode exists");
	return -EEXIST;
}

/* Makes @p what packets and writers see of @t. Context: RTNL. Return: 0 or an errno. */
static int ip_tnl_publish(struct ip_tnl_net *tn, struct ip_tnl *t, const struct ip_tnl_params *p)
{
	struct ip_tnl_entry *old = ip_tnl_entry_rtnl(t);
	struct ip_tnl_entry *e = ip_tnl_entry_alloc(t, p);
	int err;

	if (!e)
		return -ENOMEM;
	/* New before old: no packet finds the tunnel missing. */
	err = ip_tnl_table_insert(tn, e);
	if (err) {
		ip_tnl_entry_free(e);
		return err;
	}
	rcu_assign_pointer(t->entry, e);
	if (old)
		ip_tnl_table_remove(tn, old);
	else
		list_add_tail(&t->list, &tn->tunnels);
	return 0;
}

/**
 * ip_tnl_add() - configure and register a new tunnel device
 * @dev: allocated by the kind's setup, named, in its namespace; stays the
 *	caller's to free on failure
 * @net: namespace that carries the outer packets
 * @p: configuration
 * @mtu: MTU asked for, brought into its bounds; 0 to take it from the underlay
 * @extack: receives the reason of a failure, may be NULL
 *
 * Context: RTNL.
 *
 * Return: 0, -EEXIST for a duplicate, or another errno.
 */
int ip_tnl_add(struct net_device *dev, struct net *net, const struct ip_tnl_params *p,
	       unsigned int mtu, struct netlink_ext_ack *extack)
{
	const struct ip_tnl_kind *kind = ip_tnl_kind(dev);
	struct ip_tnl_net *tn = ip_tnl_net(net, kind);
	bool fallback = rtnl_dereference(tn->fallback) == dev;
	struct ip_tnl *t = netdev_priv(dev);
	int bound_mtu, err;

	err = p->collect_md ? ip_tnl_check_collect_md(tn, extack) :
			    ip_tnl_check_duplicate(tn, NULL, p, extack);
	if (!err && kind->prepare)
		err = kind->prepare(dev, p, extack);
	if (err)
		return err;

	t->tunnel.net = net;
	ip_tnl_sync_parms(dev, p);
	bound_mtu = ip_tnl_bind(dev, p);
	mtu = mtu ? clamp_t(unsigned int, mtu, IPV4_MIN_MTU, ip_tnl_max_mtu(dev, p)) : bound_mtu;
	/*
	 * IPv6 gives no state to a device that has no MTU yet. A fallback device,
	 * one in each namespace and rarely used, gets that when it is brought up.
	 */
	if (!fallback)
		dev->mtu = mtu;
	/* In the table before it is registered; down, so no packet finds it yet. */
	err = ip_tnl_publish(tn, t, p);
	if (err)
		return err;
	err = register_netdevice(dev);
	if (err) {
		ip_tnl_uninit(dev);
		synchronize_net();	/* lookups may still see it to be down */
		return err;
	}
	if (fallback)
		dev->mtu = mtu;
	if (p->collect_md)
		rcu_assign_pointer(tn->collect_md_dev, dev);
	strscpy(t->tunnel.parms.name, dev->name, IFNAMSIZ);
	return 0;
}
EXPORT_SYMBOL_GPL(ip_tnl_add);

/* A layer 3 device stays point-to-point, multicast or neither for life. */
static bool ip_tnl_same_class(__be32 a, __be32 b)
{
	return !a == !b && ipv4_is_multicast(a) == ipv4_is_multicast(b);
}

/* Updates headroom, MTU and offloads after a change that added @more bytes of headers. */
static void ip_tnl_rebind(struct net_device *dev, const struct ip_tnl_params *old,
			  const struct ip_tnl_params *new, int more, bool set_mtu)
{
	int mtu = max_t(int, dev->mtu - more, IPV4_MIN_MTU);

	if (old->link != new->link || old->fwmark != new->fwmark)
		mtu = ip_tnl_bind(dev, new);
	else
		WRITE_ONCE(dev->needed_headroom,
			   max(READ_ONCE(dev->needed_headroom) + more, 0));
	if (set_mtu && mtu != dev->mtu)
		WRITE_ONCE(dev->mtu, mtu);
	if (ip_tnl_kind(dev)->changed)
		ip_tnl_kind(dev)->changed(dev, old, new);
	netdev_update_features(dev);
}

/**
 * ip_tnl_inherit_config() - carry over what no change resets
 * @p: new configuration
 * @old: present configuration
 */
void ip_tnl_inherit_config(struct ip_tnl_params *p, const struct ip_tnl_params *old)
{
	p->protocol = old->protocol;
	p->ignore_df = old->ignore_df;
	p->collect_md = old->collect_md;
	p->encap = old->encap;
}

/**
 * ip_tnl_change() - give a tunnel another configuration
 * @dev: tunnel device
 * @p: the complete new configuration
 * @set_mtu: let the MTU follow
 * @extack: receives the reason of a failure, may be NULL
 *
 * Context: RTNL.
 *
 * Return: 0, or an errno with nothing changed: -EEXIST for a
 * duplicate of another tunnel, -EINVAL if the remote address is of another
 * class, -ENOMEM.
 */
int ip_tnl_change(struct net_device *dev, const struct ip_tnl_params *p, bool set_mtu,
		  struct netlink_ext_ack *extack)
{
	struct ip_tnl *t = netdev_priv(dev);
	struct ip_tnl_net *tn = ip_tnl_net(t->tunnel.net, ip_tnl_kind(dev));
	struct ip_tnl_params old = ip_tnl_entry_rtnl(t)->p;
	int old_hlen = t->tunnel.hlen;
	int err;

	if (dev->type != ARPHRD_ETHER && !ip_tnl_same_class(old.remote, p->remote)) {
		NL_SET_ERR_MSG(extack, "Cannot change between any, one and multicast remote");
		return -EINVAL;
	}
	err = p->collect_md ? 0 : ip_tnl_check_duplicate(tn, t, p, extack);
	if (err)
		return err;

	err = ip_tnl_publish(tn, t, p);
	if (err)
		return err;
	ip_tnl_sync_parms(dev, p);
	ip_tnl_rebind(dev, &old, p, t->tunnel.hlen - old_hlen, set_mtu);
	netdev_state_change(dev);
	return 0;
}
