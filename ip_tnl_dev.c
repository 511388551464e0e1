// SPDX-License-Identifier: GPL-2.0
/*
 * The life of a device from setup to free, and the operations that all kinds have.
 *
 * Lifetime of a tunnel. ip_tnl_uninit() takes its entry out of the table. It
 * runs after the device is down and unlisted, and unregister_netdevice_many()
 * waits for a grace period between it and the priv_destructor; so a packet
 * that still found the entry is in its CPU's backlog by then. ip_tnl_free() waits
 * until it has left that, and with it the device, which the core then frees.
 */
#include <linux/ethtool.h>
#include <linux/if_arp.h>
#include <net/gre.h>
#include <net/ip.h>

#include "ip_tnl_internal.h"
#include "iptnl_version.h"

/*
 * Not for packets that are encapsulated already: hw_enc_features stays the core's, so they
 * are segmented and have their checksums before they come here. One skb cannot describe
 * two tunnels, and what decapsulates the outer one could not restore the inner one.
 */
#define IP_TNL_FEATURES	(NETIF_F_SG | NETIF_F_FRAGLIST | NETIF_F_HIGHDMA | \
			 NETIF_F_HW_CSUM | NETIF_F_GSO_SOFTWARE)

static void ip_tnl_free(struct net_device *dev)
{
	ip_tnl_backlog_flush();
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
 * The UDP segmenter writes no GRE checksum or sequence number. And with remote checksum
 * offload it marks the segments as if the receiver had verified them already, which a
 * receiver on this host (veth) takes for granted.
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
	if (rtnl_dereference(tn->collect_md_dev) == dev)
		RCU_INIT_POINTER(tn->collect_md_dev, NULL);
	if (!e)
		return;
	RCU_INIT_POINTER(t->entry, NULL);
	list_del_init(&t->list);
	ip_tnl_table_remove(tn, e);
}
EXPORT_SYMBOL_GPL(ip_tnl_uninit);

/*
 * Length of the UDP encapsulation, for the MTU. While fou is unloaded, what it was when
 * @dev was last configured, if the encapsulation is the same.
 */
int ip_tnl_encap_hlen(const struct net_device *dev, const struct ip_tnl_params *p)
{
	const struct ip_tunnel *t = netdev_priv(dev);
	struct ip_tunnel_encap encap = p->encap;
	int hlen = ip_encap_hlen(&encap);

	if (hlen >= 0)
		return hlen;
	return memcmp(&encap, &t->encap, sizeof(encap)) ? 0 : t->encap_hlen;
}

/* Length of all headers between the outer IP header and the payload. */
int ip_tnl_hlen(const struct net_device *dev, const struct ip_tnl_params *p)
{
	const struct ip_tnl_kind *kind = ip_tnl_kind(dev);

	return (kind->hlen ? kind->hlen(p) : 0) + ip_tnl_encap_hlen(dev, p);
}

/* What an MTU does not include; an Ethernet header is part of the payload, but not of the MTU. */
int ip_tnl_mtu_overhead(const struct net_device *dev, const struct ip_tnl_params *p)
{
	return sizeof(struct iphdr) + ip_tnl_hlen(dev, p) +
	       (dev->type == ARPHRD_ETHER ? ETH_HLEN : 0);
}

/* The largest payload that an IPv4 packet can carry. */
int ip_tnl_max_mtu(const struct net_device *dev, const struct ip_tnl_params *p)
{
	return IP_MAX_MTU - ip_tnl_mtu_overhead(dev, p);
}

/* Return true if a tunnel configured by @p can have this MTU. */
bool ip_tnl_mtu_ok(const struct net_device *dev, const struct ip_tnl_params *p, unsigned int mtu)
{
	return mtu >= IPV4_MIN_MTU && mtu <= ip_tnl_max_mtu(dev, p);
}

/**
 * ip_tnl_change_mtu() - ndo_change_mtu
 * @dev: tunnel device
 * @mtu: bytes of payload
 *
 * Context: RTNL.
 *
 * Return: 0, or -EINVAL below 68 or above what fits an IPv4 packet.
 */
int ip_tnl_change_mtu(struct net_device *dev, int mtu)
{
	const struct ip_tnl *t = netdev_priv(dev);

	if (!ip_tnl_mtu_ok(dev, &ip_tnl_entry_rtnl(t)->p, mtu))
		return -EINVAL;
	WRITE_ONCE(dev->mtu, mtu);
	return 0;
}
EXPORT_SYMBOL_GPL(ip_tnl_change_mtu);

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
