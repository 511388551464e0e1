// SPDX-License-Identifier: GPL-2.0
/*
 * gre: any ethertype in GRE.
 *
 * A device with one remote address is point-to-point. One without, or with a
 * multicast group, is a network of many endpoints (NBMA, or broadcast): the
 * ends are its neighbours, and IPv4 addresses are its link-layer addresses.
 * Its link-layer header is the outer IP and GRE header; what a sender leaves
 * open there is filled in on transmit.
 */
#include <linux/if_arp.h>
#include <linux/module.h>
#include <net/dst_metadata.h>
#include <net/gre.h>
#include <net/ip.h>

#include "gre_header.h"
#include "ip_gre.h"

static const struct net_device_ops gre_netdev_ops;

/*
 * The link-layer header of a neighbour at @daddr. Of a device that is not
 * configured any more, as of one that is not ours, only the address is known:
 * @p is NULL.
 */
static void gre_header_fill(struct iphdr *iph, const struct ip_tnl_params *p, __be16 proto,
			    __be32 saddr, __be32 daddr)
{
	struct gre_base_hdr *base = (struct gre_base_hdr *)(iph + 1);

	if (!p) {
		*iph = (struct iphdr) { .daddr = daddr };
		return;
	}
	memset(base, 0, ip_tnl_gre_hlen(p));
	base->flags = p->o_flags;
	base->protocol = proto;
	*iph = (struct iphdr) {
		.version	= 4,
		.ihl		= sizeof(*iph) / 4,
		.protocol	= IPPROTO_GRE,
		.tos		= p->tos,
		.ttl		= p->ttl,
		.frag_off	= p->df,
		.saddr		= saddr ?: p->local,
		.daddr		= daddr,
	};
}

/*
 * Where a packet goes: to the neighbour's address, or else to the group. A
 * neighbour that nobody gave an address has that of the device itself; where the
 * route names an endpoint, that is meant. Return: 0 if there is none.
 */
static __be32 gre_neighbour_addr(const struct sk_buff *skb, const struct net_device *dev,
				 const struct ip_tnl_params *p, const void *daddr)
{
	const struct ip_tunnel_info *info = skb_tunnel_info(skb);
	__be32 addr = p ? p->remote : 0;

	if (daddr)
		memcpy(&addr, daddr, sizeof(addr));
	if ((!addr || !memcmp(&addr, dev->dev_addr, sizeof(addr))) && info &&
	    info->mode & IP_TUNNEL_INFO_TX && ip_tunnel_info_af(info) == AF_INET)
		return info->key.u.ipv4.dst ?: addr;
	return addr;
}

/*
 * header_ops.create. Other devices, as bond, take their header_ops from the
 * device that they stand on: @dev may be one whose private area is not ours to
 * look at. For such a one there is only the address to pass on.
 */
static int gre_header_create(struct sk_buff *skb, struct net_device *dev, unsigned short type,
			     const void *daddr, const void *saddr, unsigned int len)
{
	const struct ip_tnl *t = netdev_priv(dev);
	const struct ip_tnl_params *p = NULL;
	const struct ip_tnl_entry *e = NULL;
	int hlen = sizeof(struct iphdr);
	struct iphdr *iph;
	__be32 local = 0;

	if (saddr)
		memcpy(&local, saddr, sizeof(local));
	rcu_read_lock();
	if (dev->netdev_ops == &gre_netdev_ops)
		e = rcu_dereference(t->entry);
	if (e) {
		p = &e->p;
		hlen += ip_tnl_gre_hlen(p);
	}
	if (skb_cow_head(skb, hlen)) {
		rcu_read_unlock();
		return -hlen;
	}
	iph = skb_push(skb, hlen);
	gre_header_fill(iph, p, htons(type), local, gre_neighbour_addr(skb, dev, p, daddr));
	rcu_read_unlock();
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
 * Return true if a packet socket may have written @hlen bytes of header: for a packet this
 * short it leaves the network header at the start.
 */
static bool gre_from_packet_socket(const struct sk_buff *skb, unsigned int hlen)
{
	return skb->sk && skb->sk->sk_family == AF_PACKET &&
	       skb->len < hlen + sizeof(struct ipv6hdr);
}

/*
 * Return true if the header before the payload is one that gre_header_create() wrote, for
 * this device or for one stacked on it, or a packet socket.
 */
static bool gre_header_is_ours(const struct iphdr *iph, int hlen)
{
	const struct iphdr address_only = { .daddr = iph->daddr };

	if (hlen == sizeof(*iph))
		return !memcmp(iph, &address_only, sizeof(*iph));
	return iph->version == 4 && iph->ihl == sizeof(*iph) / 4 && iph->protocol == IPPROTO_GRE;
}

/*
 * Takes the link-layer header off, and from it what it says of how the packet
 * leaves. A packet that tc or BPF brought here begins with its payload. Return:
 * false if there is no header, or the payload needs it.
 */
static bool gre_pop_header(struct sk_buff *skb, struct ip_tnl_flow *f)
{
	int full = sizeof(struct iphdr) + gre_options_len(f->options);
	int hlen = skb_network_offset(skb);
	const struct iphdr *iph;

	if (!hlen && gre_from_packet_socket(skb, full))
		hlen = full;
	if (hlen < (int)sizeof(*iph) || !pskb_may_pull(skb, hlen))
		return false;
	iph = (const struct iphdr *)skb->data;
	if (!gre_header_is_ours(iph, hlen))
		return false;
	f->ll_hlen = hlen;
	f->dst_caches = NULL;
	f->daddr = iph->daddr;
	if (iph->version == 4) {
		f->saddr = iph->saddr;
		f->df = iph->frag_off & htons(IP_DF);
		f->ttl = iph->ttl;
		ip_tnl_flow_set_tos(f, iph->tos);
	}
	skb_pull(skb, hlen);
	skb_reset_mac_header(skb);	/* becomes the inner one: the GRE segmenter goes by it */
	skb_reset_network_header(skb);
	return skb->ip_summed != CHECKSUM_PARTIAL || skb_checksum_start_offset(skb) >= 0;
}

static netdev_tx_t gre_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct ip_tnl *t = netdev_priv(dev);
	struct ip_tnl_entry *e = rcu_dereference_bh(t->entry);
	struct ip_tnl_flow f;

	if (!e || !ip_tnl_flow_init(&f, e, skb) ||
	    (dev->header_ops == &gre_header_ops && !gre_pop_header(skb, &f)) ||
	    !pskb_inet_may_pull(skb))
		return ip_tnl_gre_xmit_drop(skb, dev);
	ip_tnl_gre_send(skb, dev, &f, skb->protocol, NULL, 0);
	return NETDEV_TX_OK;
}

/* Configuration */

static int gre_prepare(struct net_device *dev, const struct ip_tnl_params *p,
		       struct netlink_ext_ack *extack)
{
	if (p->remote)
		dev->flags |= IFF_POINTOPOINT;
	if (p->collect_md) {
		dev->type = ARPHRD_NONE;
		return 0;
	}
	if (ipv4_is_multicast(p->remote)) {
		if (!p->local) {
			NL_SET_ERR_MSG(extack, "A multicast remote needs a local address");
			return -EINVAL;
		}
		dev->flags = IFF_BROADCAST | IFF_POINTOPOINT;
	}
	if (!p->remote || ipv4_is_multicast(p->remote)) {
		dev->header_ops = &gre_header_ops;
		dev->hard_header_len = sizeof(struct iphdr) + ip_tnl_gre_hlen(p);
	}
	return 0;
}

static void gre_l3_changed(struct net_device *dev, const struct ip_tnl_params *old,
			   const struct ip_tnl_params *p)
{
	/* Senders make room for what they read here, and gre_header_create() for the rest. */
	if (dev->header_ops == &gre_header_ops)
		WRITE_ONCE(dev->hard_header_len, sizeof(struct iphdr) + ip_tnl_gre_hlen(p));
	ip_tnl_gre_changed(dev, old, p);
}

static const struct net_device_ops gre_netdev_ops = {
	.ndo_init		= ip_tnl_init,
	.ndo_uninit		= ip_tnl_uninit,
	.ndo_open		= ip_tnl_gre_open,
	.ndo_stop		= ip_tnl_gre_stop,
	.ndo_start_xmit		= gre_xmit,
	.ndo_siocdevprivate	= ip_tnl_siocdevprivate,
	.ndo_fix_features	= ip_tnl_fix_features,
	.ndo_change_mtu		= ip_tnl_change_mtu,
	.ndo_get_stats64	= dev_get_tstats64,
	.ndo_get_iflink		= ip_tnl_get_iflink,
	.ndo_fill_metadata_dst	= ip_tnl_fill_metadata_dst,
};

static void gre_setup(struct net_device *dev)
{
	ip_tnl_setup(dev, &ip_tnl_gre_kind);
	dev->netdev_ops = &gre_netdev_ops;
	dev->header_ops = &ip_tunnel_header_ops;
	dev->type = ARPHRD_IPGRE;
	dev->mpls_features |= NETIF_F_GSO_SOFTWARE;	/* gre_mpls_labels() */
}

DEFINE_IP_TNL_PERNET(ip_tnl_gre_kind);

struct ip_tnl_kind ip_tnl_gre_kind = {
	.link_ops = {
		.kind		= "gre",
		.setup		= gre_setup,
	},
	IP_TNL_PERNET(ip_tnl_gre_kind),
	.fallback_name	= "gre0",
	.fill_size	= GRE_FILL_SIZE,
	.hlen		= ip_tnl_gre_hlen,
	.prepare	= gre_prepare,
	.changed	= gre_l3_changed,
	.parse		= ip_tnl_gre_parse,
	.fill		= ip_tnl_gre_fill,
};
