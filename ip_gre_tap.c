// SPDX-License-Identifier: GPL-2.0
/*
 * gretap: Ethernet frames in GRE.
 */
#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/module.h>
#include <net/gre.h>
#include <net/ip.h>

#include "gre_header.h"
#include "ip_gre.h"

/* Tags that are looked behind for an IP header. */
#define GRE_ETHER_MAX_TAGS	8

/**
 * ip_tnl_gre_ether_payload() - find out what a frame carries
 * @skb: frame, Ethernet header at skb->data; on success its network header is
 *	that of the payload, behind all VLAN tags, and a basic IP header is linear
 * @payload: set to the payload's ethertype in network byte order, or 0 if
 *	nothing is to be read there: it is no IP packet
 *
 * Return: false for what is no frame, or an IP packet cut short in its header.
 */
bool ip_tnl_gre_ether_payload(struct sk_buff *skb, __be16 *payload)
{
	int at = ETH_HLEN, tags = 0;
	const struct vlan_hdr *vh;
	struct vlan_hdr buf;
	unsigned int need;
	__be16 proto;

	if (!pskb_may_pull(skb, ETH_HLEN))
		return false;
	proto = ((const struct ethhdr *)skb->data)->h_proto;
	while (eth_type_vlan(proto) && tags++ < GRE_ETHER_MAX_TAGS) {
		vh = skb_header_pointer(skb, at, sizeof(buf), &buf);
		if (!vh)
			break;
		proto = vh->h_vlan_encapsulated_proto;
		at += VLAN_HLEN;
	}
	if (skb_network_offset(skb) < ETH_HLEN || proto == htons(ETH_P_IP) ||
	    proto == htons(ETH_P_IPV6))
		skb_set_network_header(skb, min_t(unsigned int, at, skb->len));

	*payload = 0;
	need = proto == htons(ETH_P_IP) ? sizeof(struct iphdr) :
	       proto == htons(ETH_P_IPV6) ? sizeof(struct ipv6hdr) : 0;
	if (!need)
		return true;
	if (!pskb_may_pull(skb, at + need))
		return false;
	if (ip_hdr(skb)->version == (proto == htons(ETH_P_IP) ? 4 : 6))
		*payload = proto;
	return true;
}

static netdev_tx_t gretap_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct ip_tnl *t = netdev_priv(dev);
	struct ip_tnl_entry *e = rcu_dereference_bh(t->entry);
	struct ip_tnl_flow f;

	if (!e || !ip_tnl_flow_init(&f, e, skb) || !ip_tnl_gre_ether_payload(skb, &f.payload))
		return ip_tnl_gre_xmit_drop(skb, dev);
	ip_tnl_gre_send(skb, dev, &f, htons(ETH_P_TEB), NULL, 0);
	return NETDEV_TX_OK;
}

static const struct net_device_ops gretap_netdev_ops = {
	GRE_NETDEV_OPS,
	.ndo_start_xmit		= gretap_xmit,
	.ndo_set_mac_address	= eth_mac_addr,
	.ndo_validate_addr	= eth_validate_addr,
};

/**
 * ip_tnl_gre_ether_setup() - what kinds with an Ethernet payload have in common
 * @dev: device just allocated
 * @kind: its kind
 */
void ip_tnl_gre_ether_setup(struct net_device *dev, struct ip_tnl_kind *kind)
{
	ether_setup(dev);
	dev->max_mtu = 0;	/* ip_tnl_change_mtu() knows */
	dev->priv_flags &= ~IFF_TX_SKB_SHARING;
	dev->priv_flags |= IFF_LIVE_ADDR_CHANGE;
	ip_tnl_setup(dev, kind);
}

static void gretap_setup(struct net_device *dev)
{
	ip_tnl_gre_ether_setup(dev, &ip_tnl_gretap_kind);
	dev->netdev_ops = &gretap_netdev_ops;
}

DEFINE_IP_TNL_PERNET(ip_tnl_gretap_kind);

struct ip_tnl_kind ip_tnl_gretap_kind = {
	.link_ops = {
		.kind		= "gretap",
		GRE_LINK_OPS,
		.setup		= gretap_setup,
		.validate	= ip_tnl_gre_ether_validate,
	},
	GRE_KIND(ip_tnl_gretap_kind),
	.fallback_name	= "gretap0",
	.fill_size	= GRE_FILL_SIZE,
	.hlen		= ip_tnl_gre_hlen,
	.changed	= ip_tnl_gre_changed,
	.parse		= ip_tnl_gre_parse,
	.fill		= ip_tnl_gre_fill,
};
