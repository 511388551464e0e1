// SPDX-License-Identifier: GPL-2.0
/*
 * ip tunnel: the SIOC*TUNNEL ioctls.
 *
 * Asked of the fallback device, they are about the tunnel that the parameters
 * describe; asked of any other, about that device.
 */
#include <linux/if_tunnel.h>
#include <linux/uaccess.h>
#include <net/ip.h>

#include "gre_header.h"
#include "ip_tnl_internal.h"

/* Return true if the parameters of ADD and CHG mean something to this kind. */
static bool ip_tnl_parm_ok(const struct ip_tnl_kind *kind, const struct ip_tunnel_parm *u)
{
	return u->iph.version == 4 && u->iph.ihl == 5 &&
	       !(u->iph.frag_off & ~htons(IP_DF)) && kind->protocol_ok(u->iph.protocol) &&
	       !(kind->options && (u->i_flags | u->o_flags) & GRE_UNSUPPORTED_FLAGS);
}

/* What parameters leave open; they go back to the user like this. */
static void ip_tnl_complete_parm(const struct ip_tnl_kind *kind, struct ip_tunnel_parm *u)
{
	u->i_flags &= kind->options;
	u->o_flags &= kind->options;
	if (u->iph.ttl)
		u->iph.frag_off |= htons(IP_DF);
	if (!(u->i_flags & GRE_KEY))
		u->i_key = 0;
	if (!(u->o_flags & GRE_KEY))
		u->o_key = 0;
}

static struct ip_tnl_params ip_tnl_from_parm(const struct ip_tnl_kind *kind,
					     const struct ip_tunnel_parm *u)
{
	struct ip_tnl_params p = {
		.remote		= u->iph.daddr,
		.local		= u->iph.saddr,
		.i_flags	= u->i_flags & kind->options,
		.o_flags	= u->o_flags & kind->options,
		.df		= u->iph.frag_off & htons(IP_DF),
		.protocol	= u->iph.protocol,
		.ttl		= u->iph.ttl,
		.tos		= u->iph.tos,
		.link		= u->link,
	};

	if (p.i_flags & GRE_KEY)
		p.i_key = u->i_key;
	if (p.o_flags & GRE_KEY)
		p.o_key = u->o_key;
	return p;
}

static void ip_tnl_to_parm(struct ip_tunnel_parm *u, const struct ip_tnl *t)
{
	const struct ip_tnl_params *p = &ip_tnl_entry_rtnl(t)->p;

	memset(u, 0, sizeof(*u));
	/* As in-tree, the name that the device was made with. */
	strscpy(u->name, t->tunnel.parms.name, sizeof(u->name));
	u->link = p->link;
	u->i_flags = p->i_flags;
	u->o_flags = p->o_flags;
	u->i_key = p->i_key;
	u->o_key = p->o_key;
	u->iph = t->tunnel.parms.iph;
}

static int ip_tnl_ioctl_add(struct net *net, struct ip_tnl_kind *kind,
			    const struct ip_tunnel_parm *u)
{
	const struct ip_tnl_params p = ip_tnl_from_parm(kind, u);
	char name[IFNAMSIZ];
	struct net_device *dev;
	int err;

	if (!u->name[0])
		snprintf(name, sizeof(name), "%s%%d", kind->link_ops.kind);
	else if (dev_valid_name(u->name))
		strscpy(name, u->name, sizeof(name));
	else
		return -E2BIG;

	dev = alloc_netdev(kind->link_ops.priv_size, name, NET_NAME_UNKNOWN,
			   kind->link_ops.setup);
	if (!dev)
		return -ENOMEM;
	dev_net_set(dev, net);
	dev->min_mtu = IPV4_MIN_MTU;
	dev->max_mtu = ip_tnl_max_mtu(dev, &p);

	err = ip_tnl_add(dev, net, &p, 0, NULL);
	if (err)
		free_netdev(dev);
	return err;
}

static int ip_tnl_ioctl_change(struct ip_tnl *t, const struct ip_tnl_kind *kind,
			       const struct ip_tunnel_parm *u)
{
	struct ip_tnl_params p = ip_tnl_from_parm(kind, u);

	ip_tnl_inherit_config(&p, &ip_tnl_entry_rtnl(t)->p);
	return ip_tnl_change(t->tunnel.dev, &p, true, NULL);
}

/*
 * The tunnel that a request is about, or NULL. What describes the fallback device describes
 * no device in external mode, which has the same parameters: none.
 */
static struct ip_tnl *ip_tnl_ioctl_target(struct net_device *dev, struct ip_tnl_net *tn,
					  const struct ip_tunnel_parm *u)
{
	const struct ip_tnl_kind *kind = ip_tnl_kind(dev);
	const struct ip_tnl_params p = ip_tnl_from_parm(kind, u);
	struct ip_tnl *self = netdev_priv(dev);
	const struct ip_tnl_entry *e;

	if (dev != rtnl_dereference(tn->fallback) ||
	    ip_tnl_is_duplicate(&ip_tnl_entry_rtnl(self)->p, &p))
		return self;
	e = ip_tnl_table_find(tn, &p);
	return e ? e->tnl : NULL;
}

/**
 * ip_tnl_ctl() - carry out a tunnel ioctl
 * @dev: device it was asked of
 * @u: parameters; after SIOCGETTUNNEL those of the tunnel, after SIOCADDTUNNEL
 *	and SIOCCHGTUNNEL what they were taken to mean
 * @cmd: SIOCGETTUNNEL, SIOCADDTUNNEL, SIOCCHGTUNNEL or SIOCDELTUNNEL
 *
 * Context: RTNL.
 *
 * Return: 0; -EPERM without CAP_NET_ADMIN in the underlay's
 * namespace, or to delete the fallback device; -EINVAL for parameters or a
 * @cmd that make no sense; -E2BIG for a bad name; -EEXIST, -ENOENT; -ENOMEM; -ENODEV
 * while the module is unloaded.
 */
int ip_tnl_ctl(struct net_device *dev, struct ip_tunnel_parm *u, int cmd)
{
	struct ip_tnl_kind *kind = ip_tnl_kind(dev);
	struct ip_tnl *self = netdev_priv(dev);
	struct net *net = self->tunnel.net;
	struct ip_tnl_net *tn = ip_tnl_net(net, kind);
	struct ip_tnl *t;

	if (cmd != SIOCGETTUNNEL && !ns_capable(net->user_ns, CAP_NET_ADMIN))
		return -EPERM;
	if (cmd == SIOCADDTUNNEL && kind->closing)
		return -ENODEV;
	if ((cmd == SIOCADDTUNNEL || cmd == SIOCCHGTUNNEL) && !ip_tnl_parm_ok(kind, u))
		return -EINVAL;
	if (cmd == SIOCADDTUNNEL || cmd == SIOCCHGTUNNEL)
		ip_tnl_complete_parm(kind, u);
	t = ip_tnl_ioctl_target(dev, tn, u);

	switch (cmd) {
	case SIOCGETTUNNEL:
		ip_tnl_to_parm(u, t ?: self);
		return 0;
	case SIOCADDTUNNEL:
		return ip_tnl_ioctl_add(net, kind, u);
	case SIOCCHGTUNNEL:
		return t ? ip_tnl_ioctl_change(t, kind, u) : -ENOENT;
	case SIOCDELTUNNEL:
		if (!t)
			return -ENOENT;
		if (t->tunnel.dev == rtnl_dereference(tn->fallback))
			return -EPERM;
		unregister_netdevice(t->tunnel.dev);
		return 0;
	}
	return -EINVAL;
}
EXPORT_SYMBOL_GPL(ip_tnl_ctl);

/**
 * ip_tnl_siocdevprivate() - ndo_siocdevprivate
 * @dev: device it was asked of
 * @ifr: not used
 * @data: user's struct ip_tunnel_parm, read and written
 * @cmd: see ip_tnl_ctl()
 *
 * Context: RTNL.
 *
 * Return: what ip_tnl_ctl() returns, or -EFAULT.
 */
int ip_tnl_siocdevprivate(struct net_device *dev, struct ifreq *ifr, void __user *data, int cmd)
{
	struct ip_tunnel_parm u;
	int err;

	if (copy_from_user(&u, data, sizeof(u)))
		return -EFAULT;
	u.name[IFNAMSIZ - 1] = '\0';
	err = ip_tnl_ctl(dev, &u, cmd);
	if (!err && copy_to_user(data, &u, sizeof(u)))
		err = -EFAULT;
	return err;
}
EXPORT_SYMBOL_GPL(ip_tnl_siocdevprivate);
