// SPDX-License-Identifier: GPL-2.0
/*
 * Configuration that gre, gretap and erspan share: attributes, and membership
 * of the multicast group that a tunnel has as its remote address.
 */
#include <linux/igmp.h>
#include <linux/inetdevice.h>
#include <net/ip.h>
#include <net/netlink.h>
#include <net/route.h>

#include "gre_header.h"
#include "ip_gre.h"

static const struct nla_policy gre_policy[IFLA_GRE_MAX + 1] = {
	[IFLA_GRE_LINK]			= { .type = NLA_U32 },
	[IFLA_GRE_IFLAGS]		= { .type = NLA_U16 },
	[IFLA_GRE_OFLAGS]		= { .type = NLA_U16 },
	[IFLA_GRE_IKEY]			= { .type = NLA_U32 },
	[IFLA_GRE_OKEY]			= { .type = NLA_U32 },
	[IFLA_GRE_LOCAL]		= { .type = NLA_U32 },
	[IFLA_GRE_REMOTE]		= { .type = NLA_U32 },
	[IFLA_GRE_TTL]			= { .type = NLA_U8 },
	[IFLA_GRE_TOS]			= { .type = NLA_U8 },
	[IFLA_GRE_PMTUDISC]		= { .type = NLA_U8 },
	[IFLA_GRE_ENCAP_TYPE]		= { .type = NLA_U16 },
	[IFLA_GRE_ENCAP_FLAGS]		= { .type = NLA_U16 },
	[IFLA_GRE_ENCAP_SPORT]		= { .type = NLA_U16 },
	[IFLA_GRE_ENCAP_DPORT]		= { .type = NLA_U16 },
	[IFLA_GRE_COLLECT_METADATA]	= { .type = NLA_FLAG },
	[IFLA_GRE_IGNORE_DF]		= { .type = NLA_U8 },
	[IFLA_GRE_FWMARK]		= { .type = NLA_U32 },
	[IFLA_GRE_ERSPAN_INDEX]		= { .type = NLA_U32 },
	[IFLA_GRE_ERSPAN_VER]		= { .type = NLA_U8 },
	[IFLA_GRE_ERSPAN_DIR]		= { .type = NLA_U8 },
	[IFLA_GRE_ERSPAN_HWID]		= { .type = NLA_U16 },
};

static bool gre_protocol_ok(u8 protocol)
{
	return protocol == IPPROTO_GRE;
}

int ip_tnl_gre_hlen(const struct ip_tnl_params *p)
{
	return gre_options_len(p->o_flags);
}

static int gre_parse_flags(struct nlattr *attr, __be16 *flags, struct netlink_ext_ack *extack)
{
	if (!attr)
		return 0;
	*flags = nla_get_be16(attr);
	if (*flags & GRE_UNSUPPORTED_FLAGS) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "GRE version 0 without routing is all there is");
		return -EINVAL;
	}
	*flags &= GRE_OPTIONS;
	return 0;
}

/* &ip_tnl_kind.parse */
int ip_tnl_gre_parse(struct nlattr *data[], struct ip_tnl_params *p,
		     struct netlink_ext_ack *extack)
{
	int err;

	err = gre_parse_flags(data[IFLA_GRE_IFLAGS], &p->i_flags, extack) ?:
	      gre_parse_flags(data[IFLA_GRE_OFLAGS], &p->o_flags, extack);
	if (err)
		return err;
	if (data[IFLA_GRE_IKEY])
		p->i_key = nla_get_be32(data[IFLA_GRE_IKEY]);
	if (data[IFLA_GRE_OKEY])
		p->o_key = nla_get_be32(data[IFLA_GRE_OKEY]);
	if (data[IFLA_GRE_IGNORE_DF])
		p->ignore_df = nla_get_u8(data[IFLA_GRE_IGNORE_DF]);
	if (data[IFLA_GRE_COLLECT_METADATA] && p->encap.type != TUNNEL_ENCAP_NONE) {
		NL_SET_ERR_MSG(extack, "A device in external mode has no encapsulation of its own");
		return -EINVAL;
	}
	if (p->ignore_df && p->df) {
		NL_SET_ERR_MSG(extack, "ignore-df and path MTU discovery exclude each other");
		return -EINVAL;
	}
	return 0;
}

/* &ip_tnl_kind.fill */
void ip_tnl_gre_fill(struct sk_buff *skb, const struct ip_tnl_params *p)
{
	ip_tnl_put(skb, IFLA_GRE_IFLAGS, p->i_flags);
	ip_tnl_put(skb, IFLA_GRE_OFLAGS, p->o_flags);
	ip_tnl_put(skb, IFLA_GRE_IKEY, p->i_key);
	ip_tnl_put(skb, IFLA_GRE_OKEY, p->o_key);
	ip_tnl_put(skb, IFLA_GRE_IGNORE_DF, p->ignore_df);
}

/* Return true if a device is a member of a group. Context: RTNL. */
static bool gre_is_member(const struct in_device *in_dev, __be32 group)
{
	const struct ip_mc_list *im;

	for (im = rtnl_dereference(in_dev->mc_list); im; im = rtnl_dereference(im->next_rcu))
		if (im->multiaddr == group)
			return true;
	return false;
}

/*
 * Joins the group on the device that leads to it. Context: RTNL. Return: its ifindex, 0
 * where the remote is no group, or a negative errno.
 */
static int gre_join(const struct ip_tunnel *t, const struct ip_tnl_params *p)
{
	struct in_device *in_dev;
	struct rtable *rt;

	if (!ipv4_is_multicast(p->remote))
		return 0;
	rt = ip_tnl_route(t->net, p, NULL);
	if (IS_ERR(rt))
		return -EADDRNOTAVAIL;
	in_dev = __in_dev_get_rtnl(READ_ONCE(rt->dst.dev));
	ip_rt_put(rt);		/* RTNL keeps the device */
	if (!in_dev)
		return -EADDRNOTAVAIL;
	ip_mc_inc_group(in_dev, p->remote);
	/* It does not say whether it had the memory. */
	return gre_is_member(in_dev, p->remote) ? in_dev->dev->ifindex : -ENOMEM;
}

/* Leaves the group where it was joined. Context: RTNL. */
static void gre_leave(struct ip_tunnel *t, const struct ip_tnl_params *p)
{
	struct in_device *in_dev = t->mlink ? inetdev_by_index(t->net, t->mlink) : NULL;

	if (in_dev)
		ip_mc_dec_group(in_dev, p->remote);
	t->mlink = 0;
}

/* ndo_open: a layer 3 tunnel to a group is of no use without the group */
int ip_tnl_gre_open(struct net_device *dev)
{
	struct ip_tnl *t = netdev_priv(dev);
	int mlink = gre_join(&t->tunnel, &ip_tnl_entry_rtnl(t)->p);

	t->tunnel.mlink = max(mlink, 0);
	return dev->type == ARPHRD_ETHER ? 0 : min(mlink, 0);
}

/* ndo_stop */
int ip_tnl_gre_stop(struct net_device *dev)
{
	struct ip_tnl *t = netdev_priv(dev);

	gre_leave(&t->tunnel, &ip_tnl_entry_rtnl(t)->p);
	return 0;
}

/*
 * &ip_tnl_kind.changed: the group may be another one, or elsewhere. The same group is
 * joined before it is left, and not left while no route leads to it.
 */
void ip_tnl_gre_changed(struct net_device *dev, const struct ip_tnl_params *old,
			const struct ip_tnl_params *p)
{
	struct ip_tunnel *t = netdev_priv(dev);
	int mlink;

	if (!netif_running(dev))
		return;
	mlink = gre_join(t, p);
	if (mlink < 0 && p->remote == old->remote)
		return;
	gre_leave(t, old);
	t->mlink = max(mlink, 0);
}

/**
 * ip_tnl_gre_kind_register() - register a kind, with what is the same for all of them
 * @kind: filled by the caller but for that
 *
 * Context: process.
 *
 * Return: 0 or a negative errno.
 */
int ip_tnl_gre_kind_register(struct ip_tnl_kind *kind)
{
	kind->link_ops.maxtype = IFLA_GRE_MAX;
	kind->link_ops.policy = gre_policy;
	kind->defaults.protocol = IPPROTO_GRE;
	kind->fallback_protocol = IPPROTO_GRE;
	kind->protocol_ok = gre_protocol_ok;
	kind->options = GRE_OPTIONS;
	kind->change_collect_md = true;
	kind->attrs = (struct ip_tnl_attrs) {
		.link		= IFLA_GRE_LINK,
		.local		= IFLA_GRE_LOCAL,
		.remote		= IFLA_GRE_REMOTE,
		.ttl		= IFLA_GRE_TTL,
		.tos		= IFLA_GRE_TOS,
		.pmtudisc	= IFLA_GRE_PMTUDISC,
		.fwmark		= IFLA_GRE_FWMARK,
		.encap_type	= IFLA_GRE_ENCAP_TYPE,
		.encap_flags	= IFLA_GRE_ENCAP_FLAGS,
		.encap_sport	= IFLA_GRE_ENCAP_SPORT,
		.encap_dport	= IFLA_GRE_ENCAP_DPORT,
		.collect_md	= IFLA_GRE_COLLECT_METADATA,
	};
	return ip_tnl_kind_register(kind);
}
