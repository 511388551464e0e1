// SPDX-License-Identifier: GPL-2.0
/*
 * ip link: attributes to parameters and back.
 *
 * The attributes that all kinds have are read and dumped here, by the numbers
 * that the kind gives; its own are left to the kind.
 */
#include <linux/etherdevice.h>
#include <linux/if_arp.h>
#include <net/ip.h>
#include <net/netlink.h>

#include "ip_tnl_internal.h"

/* Any of its attributes says all of the encapsulation. */
static int ip_tnl_parse_encap(struct nlattr *data[], const struct ip_tnl_attrs *a,
			      struct ip_tnl_params *p, struct netlink_ext_ack *extack)
{
	struct ip_tunnel_encap encap = { };

	if (!data[a->encap_type] && !data[a->encap_flags] && !data[a->encap_sport] &&
	    !data[a->encap_dport])
		return 0;
	if (data[a->encap_type])
		encap.type = nla_get_u16(data[a->encap_type]);
	if (data[a->encap_flags])
		encap.flags = nla_get_u16(data[a->encap_flags]);
	if (data[a->encap_sport])
		encap.sport = nla_get_be16(data[a->encap_sport]);
	if (data[a->encap_dport])
		encap.dport = nla_get_be16(data[a->encap_dport]);
	if (ip_encap_hlen(&encap) < 0) {
		NL_SET_ERR_MSG(extack, "This encapsulation is unknown, or its module (fou) is not loaded");
		return -EINVAL;
	}
	p->encap = encap;
	return 0;
}

/* @p holds what an attribute that is missing stands for. */
static int ip_tnl_parse(const struct ip_tnl_kind *kind, struct nlattr *data[],
			struct ip_tnl_params *p, struct netlink_ext_ack *extack)
{
	const struct ip_tnl_attrs *a = &kind->attrs;
	int err;

	if (!data)
		return 0;
	err = ip_tnl_parse_encap(data, a, p, extack);
	if (err)
		return err;

	if (data[a->link])
		p->link = nla_get_u32(data[a->link]);
	if (data[a->local])
		p->local = nla_get_in_addr(data[a->local]);
	if (data[a->remote])
		p->remote = nla_get_in_addr(data[a->remote]);
	if (data[a->ttl])
		p->ttl = nla_get_u8(data[a->ttl]);
	if (data[a->tos])
		p->tos = nla_get_u8(data[a->tos]);
	if (data[a->fwmark])
		p->fwmark = nla_get_u32(data[a->fwmark]);
	if (data[a->collect_md])
		p->collect_md = true;
	if (!data[a->pmtudisc] || nla_get_u8(data[a->pmtudisc]))
		p->df = htons(IP_DF);
	return kind->parse(data, p, extack);
}

/* rtnl_link_ops.newlink. Context: RTNL. */
int ip_tnl_newlink(struct net_device *dev, struct rtnl_newlink_params *params,
		   struct netlink_ext_ack *extack)
{
	const struct ip_tnl_kind *kind = ip_tnl_kind(dev);
	struct ip_tnl_params p = kind->defaults;
	int err;

	err = ip_tnl_parse(kind, params->data, &p, extack);
	if (err)
		return err;
	if (dev->type == ARPHRD_ETHER && !params->tb[IFLA_ADDRESS])
		eth_hw_addr_random(dev);
	return ip_tnl_add(dev, params->link_net ?: dev_net(dev), &p,
			  params->tb[IFLA_MTU] ? nla_get_u32(params->tb[IFLA_MTU]) : 0, extack);
}

/* The core sets the MTU after the change, and could not take that back. */
static int ip_tnl_check_mtu(const struct net_device *dev, const struct ip_tnl_params *p,
			    const struct nlattr *attr, struct netlink_ext_ack *extack)
{
	if (!attr || ip_tnl_mtu_ok(dev, p, nla_get_u32(attr)))
		return 0;
	NL_SET_ERR_MSG_ATTR(extack, attr, "This tunnel cannot have such an MTU");
	return -EINVAL;
}

/*
 * rtnl_link_ops.changelink: what is not given goes back to its default, but
 * for the values that have always been kept. The payload's protocol is
 * checked, but fixed when the device is made. Context: RTNL.
 */
int ip_tnl_changelink(struct net_device *dev, struct nlattr *tb[], struct nlattr *data[],
		      struct netlink_ext_ack *extack)
{
	const struct ip_tnl_kind *kind = ip_tnl_kind(dev);
	const struct ip_tnl *t = netdev_priv(dev);
	const struct ip_tnl_params *old = &ip_tnl_entry_rtnl(t)->p;
	struct ip_tnl_params p = { .fwmark = old->fwmark };
	int err;

	if (!rtnl_dev_link_net_capable(dev, t->tunnel.net)) {
		NL_SET_ERR_MSG(extack, "Operation not permitted in the namespace of the tunnel's underlay");
		return -EPERM;
	}
	if (dev == rtnl_dereference(ip_tnl_net(t->tunnel.net, kind)->fallback)) {
		NL_SET_ERR_MSG(extack, "The fallback device cannot be changed");
		return -EINVAL;
	}
	if (data && data[kind->attrs.collect_md] && !(old->collect_md && kind->change_collect_md)) {
		NL_SET_ERR_MSG(extack, "External mode is for the whole life of a device");
		return kind->change_collect_md ? -EOPNOTSUPP : -EINVAL;
	}
	ip_tnl_inherit_config(&p, old);
	if (kind->inherit)
		kind->inherit(&p, old);
	err = ip_tnl_parse(kind, data, &p, extack) ?:
	      ip_tnl_check_mtu(dev, &p, tb[IFLA_MTU], extack);
	if (err)
		return err;
	p.protocol = old->protocol;
	return ip_tnl_change(dev, &p, !tb[IFLA_MTU], extack);
}

/**
 * ip_tnl_dellink() - rtnl_link_ops.dellink: the fallback device stays
 * @dev: tunnel device
 * @head: queued here, for unregister_netdevice_many()
 *
 * Context: RTNL.
 */
void ip_tnl_dellink(struct net_device *dev, struct list_head *head)
{
	const struct ip_tnl *t = netdev_priv(dev);

	if (dev != rtnl_dereference(ip_tnl_net(t->tunnel.net, ip_tnl_kind(dev))->fallback))
		unregister_netdevice_queue(dev, head);
}
EXPORT_SYMBOL_GPL(ip_tnl_dellink);

size_t ip_tnl_get_size(const struct net_device *dev)
{
	return	nla_total_size(4) +	/* link */
		nla_total_size(4) +	/* local */
		nla_total_size(4) +	/* remote */
		nla_total_size(1) +	/* ttl */
		nla_total_size(1) +	/* tos */
		nla_total_size(1) +	/* pmtudisc */
		nla_total_size(4) +	/* fwmark */
		4 * nla_total_size(2) +	/* encapsulation */
		nla_total_size(0) +	/* external */
		ip_tnl_kind(dev)->fill_size;
}

/*
 * rtnl_link_ops.fill_info. There is room for all or for nothing: asked once,
 * as a dump of ten thousand tunnels has more than 100,000 attributes.
 */
int ip_tnl_fill_info(struct sk_buff *skb, const struct net_device *dev)
{
	const struct ip_tnl_kind *kind = ip_tnl_kind(dev);
	const struct ip_tnl_attrs *a = &kind->attrs;
	const struct ip_tnl *t = netdev_priv(dev);
	const struct ip_tnl_entry *e;

	if (skb_tailroom(skb) < ip_tnl_get_size(dev))
		return -EMSGSIZE;
	rcu_read_lock();
	e = rcu_dereference(t->entry);
	if (e) {
		const struct ip_tnl_params *p = &e->p;

		ip_tnl_put(skb, a->link, p->link);
		ip_tnl_put(skb, a->local, p->local);
		ip_tnl_put(skb, a->remote, p->remote);
		ip_tnl_put(skb, a->ttl, p->ttl);
		ip_tnl_put(skb, a->tos, p->tos);
		ip_tnl_put(skb, a->pmtudisc, (u8)!!p->df);
		ip_tnl_put(skb, a->fwmark, p->fwmark);
		ip_tnl_put(skb, a->encap_type, p->encap.type);
		ip_tnl_put(skb, a->encap_flags, p->encap.flags);
		ip_tnl_put(skb, a->encap_sport, p->encap.sport);
		ip_tnl_put(skb, a->encap_dport, p->encap.dport);
		if (p->collect_md)
			__nla_reserve(skb, a->collect_md, 0);
		kind->fill(skb, p);
	}
	rcu_read_unlock();
	return 0;
}

struct net *ip_tnl_get_link_net(const struct net_device *dev)
{
	const struct ip_tnl *t = netdev_priv(dev);

	return READ_ONCE(t->tunnel.net);
}
