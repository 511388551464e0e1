// SPDX-License-Identifier: GPL-2.0
/*
 * gre: any ethertype in GRE.
 *
 * A device with one remote address is point-to-point. One without, or with a
 * multicast group, is a network of many tunnel ends (NBMA, or broadcast): the
 * ends are its neighbours, and IPv4 addresses are its link-layer addresses.
 * Its link-layer header is the outer IP and GRE header; what a sender leaves
 * open there is filled in on transmit.
 */
#include <linux/if_arp.h>
#include <linux/module.h>
#include <net/gre.h>
#include <net/ip.h>

#include "gre_header.h"
#include "ip_gre.h"

static const struct net_device_ops gre_netdev_ops;

/*
 * header_ops.create. Other devices, as bond, take their header_ops from the
 * device that they stand on: @dev may be one whose private area is not ours to
 * look at. For such a one there is only the address to pass on.
 */
static int gre_header_create(struct sk_buff *skb, struct net_device *dev, unsigned short type,
			     const void *daddr, const void *saddr, unsigned int len)
{
	bool ours = dev->netdev_ops == &gre_netdev_ops;
	const struct ip_tnl *t = netdev_priv(dev);
	const struct ip_tnl_entry *e = NULL;
	struct ip_tnl_params none = { };
	const struct ip_tnl_params *p = &none;
	struct gre_base_hdr *base;
	struct iphdr *iph;
	int hlen;

	rcu_read_lock();
	if (ours)
		e = rcu_dereference(t->entry);
	if (e)
		p = &e->p;
	hlen = sizeof(*iph) + (e ? gre_hlen(p) : 0);
	if (skb_cow_head(skb, hlen)) {
		rcu_read_unlock();
		return -hlen;
	}
	iph = skb_push(skb, hlen);
	memset(iph, 0, hlen);
	if (e) {
		iph->version = 4;
		iph->ihl = sizeof(*iph) / 4;
		base = (struct gre_base_hdr *)(iph + 1);
		base->flags = p->o_flags;
		base->protocol = htons(type);
	}
	iph->protocol = IPPROTO_GRE;
	iph->tos = p->tos;
	iph->ttl = p->ttl;
	iph->frag_off = p->df;
	iph->saddr = p->local;
	iph->daddr = p->remote;
	rcu_read_unlock();

	if (saddr)
		memcpy(&iph->saddr, saddr, sizeof(iph->saddr));
	if (daddr)
		memcpy(&iph->daddr, daddr, sizeof(iph->daddr));
	return iph->daddr ? hlen : -hlen;
}

/* header_ops.parse: the far end of the tunnel that the packet came through */
static int gre_header_parse_addr(const struct sk_buff *skb, const struct net_device *dev,
				 unsigned char *haddr)
{
	const struct iphdr *iph = (const struct iphdr *)skb_mac_header(skb);

	memcpy(haddr, &iph->saddr, sizeof(iph->saddr));
	return sizeof(iph->saddr);
}
DEFINE_HEADER_PARSE(gre_header_parse_addr);

static const struct header_ops gre_header_ops = {
	.create		= gre_header_create,
	.parse		= HEADER_PARSE(gre_header_parse_addr),
};

/*
 * Takes the link-layer header off, and from it what it says of how the packet
 * leaves. Return: false if the payload cannot do without it.
 */
static bool gre_pop_header(struct sk_buff *skb, struct ip_tnl_flow *f)
{
	const struct iphdr *iph = (const struct iphdr *)skb->data;
	int hlen = skb_network_offset(skb);

	if (!hlen)
		return true;	/* sent around the neighbour layer */
	if (hlen < (int)sizeof(*iph))
		return false;

	f->dst_cache = NULL;
	f->daddr = iph->daddr;
	if (iph->version == 4) {
		f->saddr = iph->saddr;
		f->df = iph->frag_off & htons(IP_DF);
		f->ttl = iph->ttl;
		ip_tnl_flow_set_tos(f, iph->tos);
	}
	__skb_pull(skb, hlen);
	return skb->ip_summed != CHECKSUM_PARTIAL || skb_checksum_start_offset(skb) >= 0;
}

static netdev_tx_t gre_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct ip_tnl *t = netdev_priv(dev);
	struct ip_tnl_entry *e = rcu_dereference_bh(t->entry);
	struct ip_tnl_flow f;

	if (!e || !pskb_inet_may_pull(skb) || !ip_tnl_flow_init(&f, e, skb))
		return gre_xmit_drop(skb, dev);
	if (dev->header_ops == &gre_header_ops && !gre_pop_header(skb, &f))
		return gre_xmit_drop(skb, dev);
	gre_send(skb, dev, &f, skb->protocol, NULL, 0);
	return NETDEV_TX_OK;
}

/* Configuration */

static int gre_prepare(struct net_device *dev, const struct ip_tnl_params *p,
		       struct netlink_ext_ack *extack)
{
	if (p->external) {
		dev->type = ARPHRD_NONE;
		return 0;
	}
	if (ipv4_is_multicast(p->remote)) {
		if (!p->local) {
			NL_SET_ERR_MSG(extack, "A multicast remote needs a local address");
			return -EINVAL;
		}
		dev->flags = IFF_BROADCAST;
	}
	if (p->remote)
		dev->flags |= IFF_POINTOPOINT;
	if (!p->remote || ipv4_is_multicast(p->remote)) {
		dev->header_ops = &gre_header_ops;
		dev->hard_header_len = sizeof(struct iphdr) + gre_hlen(p);
	}
	return 0;
}

static void gre_l3_changed(struct net_device *dev, const struct ip_tnl_params *old,
			   const struct ip_tnl_params *p)
{
	/* Senders make room for what they read here, and gre_header_create() for the rest. */
	if (dev->header_ops == &gre_header_ops)
		dev->hard_header_len = sizeof(struct iphdr) + gre_hlen(p);
	gre_changed(dev, old, p);
}

static const struct net_device_ops gre_netdev_ops = {
	.ndo_init		= ip_tnl_init,
	.ndo_uninit		= ip_tnl_uninit,
	.ndo_open		= gre_open,
	.ndo_stop		= gre_stop,
	.ndo_start_xmit		= gre_xmit,
	.ndo_fix_features	= gre_fix_features,
	.ndo_siocdevprivate	= ip_tnl_siocdevprivate,
	.ndo_change_mtu		= ip_tnl_change_mtu,
	.ndo_get_stats64	= dev_get_tstats64,
	.ndo_get_iflink		= ip_tnl_get_iflink,
	.ndo_fill_metadata_dst	= ip_tnl_fill_metadata_dst,
};

static void gre_setup(struct net_device *dev)
{
	ip_tnl_setup(dev, &gre_kind);
	dev->netdev_ops = &gre_netdev_ops;
	dev->header_ops = &ip_tunnel_header_ops;
	dev->type = ARPHRD_IPGRE;
}

DEFINE_IP_TNL_PERNET(gre_kind);

struct ip_tnl_kind gre_kind = {
	.link_ops = {
		.kind		= "gre",
		.maxtype	= IFLA_GRE_MAX,
		.policy		= gre_policy,
		.setup		= gre_setup,
	},
	IP_TNL_PERNET(gre_kind),
	.fallback_name	= "gre0",
	.protocol	= IPPROTO_GRE,
	.fallback_protocol = IPPROTO_GRE,
	.options	= GRE_OPTIONS,
	.attrs		= GRE_ATTRS,
	.fill_size	= GRE_FILL_SIZE,
	.protocol_ok	= gre_protocol_ok,
	.hlen		= gre_hlen,
	.prepare	= gre_prepare,
	.changed	= gre_l3_changed,
	.parse		= gre_parse,
	.fill		= gre_fill,
};
