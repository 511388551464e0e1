// SPDX-License-Identifier: GPL-2.0
/*
 * ip link: attributes to parameters and back.
 *
 * The attributes that all kinds have are read and dumped here, by the numbers
 * that the kind gives; its own are left to the kind.
 */
#include <net/ip.h>
#include <net/netlink.h>

#include "ip_tnl.h"

static int ip_tnl_refuse_absent(struct nlattr *data[], const struct ip_tnl_attrs *a,
				struct netlink_ext_ack *extack)
{
	u16 encap = data[a->encap_type] ? nla_get_u16(data[a->encap_type]) : TUNNEL_ENCAP_NONE;

	if (encap > TUNNEL_ENCAP_MPLS) {
		NL_SET_ERR_MSG_ATTR(extack, data[a->encap_type], "Unknown encapsulation");
		return -EINVAL;
	}
	if (data[a->collect_md]) {
		NL_SET_ERR_MSG_ATTR(extack, data[a->collect_md],
				    "External mode is not supported by this version of iptnl");
		return -EOPNOTSUPP;
	}
	if (encap != TUNNEL_ENCAP_NONE) {
		NL_SET_ERR_MSG_ATTR(extack, data[a->encap_type],
				    "FOU, GUE and MPLS encapsulations are not supported by this version of iptnl");
		return -EOPNOTSUPP;
	}
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
	err = ip_tnl_refuse_absent(data, a, extack);
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
	if (!data[a->pmtudisc] || nla_get_u8(data[a->pmtudisc]))
		p->df = htons(IP_DF);
	return kind->parse(data, p, extack);
}

/* rtnl_link_ops.newlink. Context: RTNL. */
int ip_tnl_newlink(struct net_device *dev, struct rtnl_newlink_params *params,
		   struct netlink_ext_ack *extack)
{
	const struct ip_tnl_kind *kind = ip_tnl_kind(dev);
	struct ip_tnl_params p = { .protocol = kind->protocol };
	int err;

	err = ip_tnl_parse(kind, params->data, &p, extack);
	if (err)
		return err;
	return ip_tnl_add(dev, params->link_net ?: dev_net(dev), &p,
			  params->tb[IFLA_MTU] ? nla_get_u32(params->tb[IFLA_MTU]) : 0, extack);
}

/*
 * rtnl_link_ops.changelink: what is not given goes back to its default, but
 * for the two values that have always been kept. The payload's protocol is
 * checked, but fixed when the device is made. Context: RTNL.
 */
int ip_tnl_changelink(struct net_device *dev, struct nlattr *tb[], struct nlattr *data[],
		      struct netlink_ext_ack *extack)
{
	const struct ip_tnl_kind *kind = ip_tnl_kind(dev);
	const struct ip_tnl *t = netdev_priv(dev);
	const struct ip_tnl_params *old = &ip_tnl_entry_rtnl(t)->p;
	struct ip_tnl_params p = {
		.protocol	= old->protocol,
		.fwmark		= old->fwmark,
		.ignore_df	= old->ignore_df,
	};
	int err;

	if (!rtnl_dev_link_net_capable(dev, t->tunnel.net)) {
		NL_SET_ERR_MSG(extack, "Operation not permitted in the namespace of the tunnel's underlay");
		return -EPERM;
	}
	if (dev == rtnl_dereference(ip_tnl_net(t->tunnel.net, kind)->fallback)) {
		NL_SET_ERR_MSG(extack, "The fallback device cannot be changed");
		return -EINVAL;
	}
	err = ip_tnl_parse(kind, data, &p, extack);
	if (err)
		return err;
	p.protocol = old->protocol;
	return ip_tnl_change(dev, &p, !tb[IFLA_MTU], extack);
}

/* rtnl_link_ops.dellink: the fallback device stays. Context: RTNL. */
void ip_tnl_dellink(struct net_device *dev, struct list_head *head)
{
	const struct ip_tnl *t = netdev_priv(dev);

	if (dev != rtnl_dereference(ip_tnl_net(t->tunnel.net, ip_tnl_kind(dev))->fallback))
		unregister_netdevice_queue(dev, head);
}

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
		ip_tnl_kind(dev)->fill_size;
}

int ip_tnl_fill_info(struct sk_buff *skb, const struct net_device *dev)
{
	const struct ip_tnl_kind *kind = ip_tnl_kind(dev);
	const struct ip_tnl_attrs *a = &kind->attrs;
	const struct ip_tnl *t = netdev_priv(dev);
	const struct ip_tnl_entry *e;
	int err = 0;

	rcu_read_lock();
	e = rcu_dereference(t->entry);
	if (e) {
		const struct ip_tnl_params *p = &e->p;

		err =	nla_put_u32(skb, a->link, p->link) ?:
			nla_put_in_addr(skb, a->local, p->local) ?:
			nla_put_in_addr(skb, a->remote, p->remote) ?:
			nla_put_u8(skb, a->ttl, p->ttl) ?:
			nla_put_u8(skb, a->tos, p->tos) ?:
			nla_put_u8(skb, a->pmtudisc, !!p->df) ?:
			nla_put_u32(skb, a->fwmark, p->fwmark) ?:
			nla_put_u16(skb, a->encap_type, t->tunnel.encap.type) ?:
			nla_put_u16(skb, a->encap_flags, t->tunnel.encap.flags) ?:
			nla_put_be16(skb, a->encap_sport, t->tunnel.encap.sport) ?:
			nla_put_be16(skb, a->encap_dport, t->tunnel.encap.dport) ?:
			kind->fill(skb, p);
	}
	rcu_read_unlock();
	return err;
}

struct net *ip_tnl_get_link_net(const struct net_device *dev)
{
	const struct ip_tnl *t = netdev_priv(dev);

	return READ_ONCE(t->tunnel.net);
}

/**
 * ip_tnl_get_iflink() - ndo_get_iflink
 * @dev: tunnel device
 *
 * Context: any.
 *
 * Return: index of the underlay device, in the underlay's
 * namespace, that the tunnel is bound to, or 0.
 */
int ip_tnl_get_iflink(const struct net_device *dev)
{
	const struct ip_tnl *t = netdev_priv(dev);

	return READ_ONCE(t->tunnel.parms.link);
}
EXPORT_SYMBOL_GPL(ip_tnl_get_iflink);
